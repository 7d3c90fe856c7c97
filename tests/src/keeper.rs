//! The process that cleans up behind us, whatever our end is.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::Account;

/// How long a program may take to start on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait before the next look.
const PAUSE: Duration = Duration::from_millis(5);

/// A temporary folder, with a program in it or not, that goes when this is dropped, and when our process ends or is killed.
///
/// Nothing is left to us: the keeper makes the folder and starts the program, so there is no moment at which one of them
/// is there and nobody is charged with removing it.
pub(crate) struct Keeper {
    // Its other end is the keeper's standard input. std opens it close-on-exec: no other child of ours holds it open.
    ours: Option<ChildStdin>,
    child: Child,
    folder: PathBuf,
}

impl Keeper {
    /// Makes a folder.
    pub(crate) fn of_folder(account: &Account) -> Result<Self, String> {
        Self::start(account, "", &[])
    }

    /// Makes a folder and runs a program in it, by a script whose arguments are the folder and these. The program's output is
    /// in the file `log`, and the file `exit` appears when the last of its processes has ended.
    pub(crate) fn of_program(
        account: &Account,
        script: &str,
        arguments: &[&OsStr],
    ) -> Result<Self, String> {
        Self::start(account, script, arguments)
    }

    fn start(account: &Account, script: &str, arguments: &[&OsStr]) -> Result<Self, String> {
        let mut child = account
            .command("/bin/sh")
            .args(["-c", include_str!("keeper.sh"), "advisory-keeper"])
            .arg(base())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C goes to the group in the foreground. It must not reach the keeper, which has work to do then.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`/bin/sh`: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("BUG: the output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let folder = PathBuf::from(line.trim_end_matches('\n'));
        let keeper = Self {
            ours: child.stdin.take(),
            child,
            folder,
        };
        if keeper.folder.is_absolute() {
            Ok(keeper)
        } else {
            Err(format!("no temporary folder: {line}"))
        }
    }

    /// Runs the program again once it has ended.
    pub(crate) fn run_again(&self) -> Result<(), String> {
        // Left by one that was killed, they would speak for the new one.
        for trace in ["exit", "data/postmaster.pid"] {
            let _ = std::fs::remove_file(self.folder.join(trace));
        }
        self.say("run")
    }

    /// Adds lines to a file in the folder.
    pub(crate) fn append(&self, file: &str, text: &str) -> Result<(), String> {
        let mut lines = text.lines();
        lines.try_for_each(|line| self.say(&format!("append {file} {line}")))
    }

    fn say(&self, command: &str) -> Result<(), String> {
        let mut ours = self.ours.as_ref().expect("BUG: taken only by drop");
        writeln!(ours, "{command}").map_err(|error| format!("the keeper is gone: {error}"))
    }

    /// Waits until the program is as `is_ready` says; an error with the end of its output if it ends before, or takes too long.
    pub(crate) fn wait_until(&self, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !self.is(&is_ready, start)? {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// As [`wait_until`](Self::wait_until), for those who must not block.
    pub(crate) async fn until(&self, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !self.is(&is_ready, start)? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// True if no process of the program is left.
    pub(crate) fn has_ended(&self) -> bool {
        self.folder.join("exit").exists()
    }

    fn is(&self, is_ready: impl Fn() -> bool, start: Instant) -> Result<bool, String> {
        // In this order: it may be ready because it has ended.
        if is_ready() {
            return Ok(true);
        }
        if self.has_ended() {
            return Err(self.log());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("not ready after {PATIENCE:?}; {}", self.log()));
        }
        Ok(false)
    }

    /// The last lines of the program's output.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.ours.take());
        // An error means that there is nothing to wait for.
        let _ = self.child.wait();
    }
}

/// The system's folder for temporary files, unless it leaves no room for a socket's path, which holds 107 bytes.
fn base() -> PathBuf {
    const LONGEST: usize = 107 - "/advisory-XXXXXX/p999/.s.PGSQL.5432".len();
    let base = std::env::temp_dir();
    if base.is_absolute() && base.as_os_str().len() <= LONGEST {
        base
    } else {
        PathBuf::from("/tmp")
    }
}
