//! A command that is started from a terminal.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::command::{ADVISORY, TIMEOUT, run_script};
use crate::process::{on_terminal, wait_until_state};

/// A terminal, and the process that runs in its foreground.
struct Terminal {
    keys: File,
    screen: UnboundedReceiver<String>,
    process: Child,
}

impl Terminal {
    fn run(database: &Database, script: &str) -> Self {
        let arguments = run_script(&[], script);
        Self::show(|terminal| on_terminal(terminal, database, &[ADVISORY], &arguments))
    }

    fn show(command: impl FnOnce(&OwnedFd) -> Command) -> Self {
        let pair = openpty(None, None).unwrap();
        let mut command = command(&pair.slave);
        let process = command.kill_on_drop(true).spawn().unwrap();
        let screen = File::from(pair.master.try_clone().unwrap());
        Self {
            keys: File::from(pair.master),
            screen: lines(screen),
            process,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What follows this word on the first line that has it. Typed keys are on the screen too.
    async fn after(&mut self, word: &str) -> String {
        loop {
            let line = timeout(TIMEOUT, self.screen.recv()).await;
            let line = line.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("`{word}` is not seen"));
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().unwrap().cast_signed())
    }

    async fn code(mut self) -> Option<i32> {
        let status = timeout(TIMEOUT, self.process.wait()).await;
        status.expect("it ends").unwrap().code()
    }
}

/// Reads on a detached thread: after a failure, a process may keep the terminal open.
fn lines(screen: File) -> UnboundedReceiver<String> {
    let (line, lines) = unbounded_channel();
    std::thread::spawn(move || {
        // Reading fails once no process has the terminal open.
        let read = BufReader::new(screen).lines().map_while(Result::ok);
        read.for_each(|text| drop(line.send(text)));
    });
    lines
}

#[tokio::test]
async fn the_command_reads_from_the_terminal() {
    let database = Database::new().await;
    let script = "echo ready; read line; echo \"got <$line>\"; exit 2";
    let mut terminal = Terminal::run(&database, script);
    terminal.after("ready").await;
    terminal.press("hello\n");
    assert_eq!(terminal.after("got").await, "<hello>");
    assert_eq!(terminal.code().await, Some(2));
}

#[tokio::test]
async fn ctrl_c_reaches_the_command_once() {
    let database = Database::new().await;
    let script = "trap 'echo interrupted' INT; trap 'echo last; exit 3' USR1; echo ready; while :; do read line; done";
    let mut terminal = Terminal::run(&database, script);
    terminal.after("ready").await;
    terminal.press("\x03");
    terminal.after("interrupted").await;
    // Both signals arrive in this order, and would be forwarded in this order.
    kill(terminal.pid(), Signal::SIGUSR1).unwrap();
    let mut seen = String::new();
    while !seen.contains("last") {
        seen = terminal.after("").await;
        assert!(!seen.contains("interrupted"), "twice");
    }
    assert_eq!(terminal.code().await, Some(3));
}

#[tokio::test]
async fn ctrl_c_ends_a_command_without_a_handler() {
    let database = Database::new().await;
    let mut terminal = Terminal::run(&database, "echo ready; exec cat");
    terminal.after("ready").await;
    terminal.press("\x03");
    assert_eq!(terminal.code().await, Some(130));
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn ctrl_z_returns_to_the_shell_and_fg_continues() {
    let database = Database::new().await;
    // A shell with job control.
    let script = "set -m; \"$0\" \"$@\"; echo stopped $?; fg; echo code $?";
    let shell = ["sh", "-c", script, ADVISORY];
    let run = run_script(&[], "echo ready; read line; exit 2");
    let mut terminal = Terminal::show(|terminal| on_terminal(terminal, &database, &shell, &run));
    terminal.after("ready").await;
    terminal.press("\x1a");
    // 128 and SIGTSTP.
    assert_eq!(terminal.after("stopped").await, "148");
    database.wait_until_held(1).await;
    terminal.press("go on\n");
    assert_eq!(terminal.after("code").await, "2");
    assert_eq!(terminal.code().await, Some(0));
}

#[tokio::test]
async fn a_signal_from_elsewhere_is_forwarded() {
    let database = Database::new().await;
    let mut terminal = Terminal::run(&database, "echo pid $$; exec cat");
    let child = terminal.after("pid").await;
    kill(terminal.pid(), Signal::SIGTERM).unwrap();
    wait_until_state(&child, " Z").await;
    assert_eq!(terminal.code().await, Some(143));
}

#[tokio::test]
async fn a_wait_says_who_holds_the_lock() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = AdvisoryLock::new("a").acquire(&pool).await.unwrap();
    let pid = database.advisory_locks().await[0].pid;
    let mut terminal = Terminal::run(&database, "true");
    let held = format!("advisory: waiting for `a`, held by pid {pid}");
    let holder = terminal.after(&held).await;
    // In no transaction.
    assert!(holder.contains("connected for"), "{holder}");
    guard.release().await.unwrap();
    assert_eq!(terminal.code().await, Some(0));
}
