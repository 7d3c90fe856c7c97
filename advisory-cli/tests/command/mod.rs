//! The built command: started, listened to, signalled, and waited for.

use std::io::Result;
use std::process::Stdio;
use std::time::Duration;

use advisory_tests::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command that was built.
pub(crate) const ADVISORY: &str = env!("CARGO_BIN_EXE_advisory");

/// `advisory` with these arguments, on this database.
pub(crate) fn advisory(database: &Database, arguments: &[&str]) -> Command {
    with_url(Command::new(ADVISORY), &database.url(), arguments)
}

/// A command that ends in `advisory`, and its arguments.
pub(crate) fn with_url(mut command: Command, url: &str, arguments: &[&str]) -> Command {
    command.args(arguments).env("DATABASE_URL", url);
    command
}

/// A process whose standard input stays open until it is told otherwise.
pub(crate) struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// A signal that is ignored here would be ignored there: those who run tests in the background of a shell have some.
fn heed_signals() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.map_or(Ok(0), |mask| u64::from_str_radix(mask.trim(), 16));
    for number in [1, 2, 3, 10, 12, 15] {
        if ignored
            .as_ref()
            .is_ok_and(|mask| mask & (1 << (number - 1)) != 0)
        {
            let _caught = signal(SignalKind::from_raw(number)).unwrap();
        }
    }
}

/// What has come of it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// 1000 and the signal if it was ended by one, which no command of ours is.
    pub(crate) code: i32,
    /// What was not read before.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        heed_signals();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = command.stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let mut process = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = process.stdout.take().expect("BUG: it is piped");
        Self {
            stdin: process.stdin.take(),
            stdout: BufReader::new(stdout),
            process,
        }
    }

    /// The next line of its standard output; empty at the end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stdout.read_line(&mut line)).await;
        read.expect("there is a line, or an end").unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stdin = self.stdin.as_mut().expect("BUG: it has been closed");
        stdin.write_all(bytes).await
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.process.id().expect("it runs");
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("it runs");
    }

    /// Waits for its end, and for that of everybody who has its output.
    pub(crate) async fn end(mut self) -> Ended {
        let mut stderr = self.process.stderr.take().expect("BUG: it is piped");
        let (mut out, mut err) = (Vec::new(), String::new());
        let all = async {
            tokio::try_join!(
                self.stdout.read_to_end(&mut out),
                stderr.read_to_string(&mut err),
                self.process.wait(),
            )
        };
        let ended = timeout(PATIENCE, all).await;
        let (_, _, status) = ended.expect("it ends").unwrap();
        Ended {
            code: status.code().unwrap_or(1000),
            stdout: out,
            stderr: err,
        }
    }
}

/// Runs it to its end, without input.
pub(crate) async fn ended(command: Command) -> Ended {
    let mut running = Running::start(command);
    running.close_input();
    running.end().await
}

impl Ended {
    /// Nothing on standard output, and one line with this text on standard error.
    pub(crate) fn says(&self, code: i32, text: &str) {
        let lines: Vec<_> = self.stderr.lines().collect();
        let is_one_line =
            matches!(lines[..], [line] if line.starts_with("advisory: ") && line.contains(text));
        assert!(is_one_line, "expected `{text}`: {self:?}");
        assert_eq!((self.code, &*self.stdout), (code, &b""[..]), "{self:?}");
    }

    /// Nothing on standard error.
    pub(crate) fn is_silent(&self, code: i32) {
        assert_eq!((self.code, &*self.stderr), (code, ""), "{self:?}");
    }
}

/// Ends the session of whoever holds a lock in this database.
pub(crate) async fn terminate_holders(database: &Database) {
    let mut conn = database.connection().await;
    for lock in database.advisory_locks().await {
        let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(lock.pid);
        terminate.execute(&mut conn).await.unwrap();
    }
}
