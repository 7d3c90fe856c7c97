//! A child process that cleans up after this process, however this process ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::base_folder::base_folder;

/// How long a program may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// The interval between two checks.
const INTERVAL: Duration = Duration::from_millis(5);

/// A temporary folder, optionally with a program that runs in it.
///
/// The program ends and the folder is removed when this value is dropped, and when this process
/// ends or is killed. The supervisor is a shell that creates the folder and starts the program
/// itself, so neither of them ever exists without a process that removes it.
pub(crate) struct Supervisor {
    // The supervisor reads commands from this pipe, and cleans up at its end. std opens the pipe
    // close-on-exec, so no other child process keeps it open.
    commands: Option<ChildStdin>,
    child: Child,
    folder: PathBuf,
}

impl Supervisor {
    /// Creates a folder.
    pub(crate) fn of_folder(account: &Account) -> Result<Self, String> {
        Self::of_program(account, "", &[])
    }

    /// Creates a folder and runs a program in it. `script` starts the program; its arguments are
    /// the folder and `arguments`. The output of the program is written to the file `log`. The file
    /// `exit` is created when the last process of the program has ended.
    pub(crate) fn of_program(
        account: &Account,
        script: &str,
        arguments: &[&OsStr],
    ) -> Result<Self, String> {
        let mut child = account
            .command("/bin/sh")
            .args(["-c", include_str!("supervisor.sh"), "advisory-supervisor"])
            .arg(base_folder())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is sent to the process group in the foreground. It must not reach the
            // supervisor, which still has to clean up.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`/bin/sh`: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("BUG: the output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let folder = PathBuf::from(line.trim_end_matches('\n'));
        let supervisor = Self {
            commands: child.stdin.take(),
            child,
            folder,
        };
        if supervisor.folder.is_absolute() {
            Ok(supervisor)
        } else {
            Err(format!("no temporary folder: {line}"))
        }
    }

    /// Runs the program again after it has ended.
    pub(crate) fn run_again(&self) -> Result<(), String> {
        // Files of a killed run would be taken for files of the new run.
        for stale in ["exit", "data/postmaster.pid"] {
            let _ = std::fs::remove_file(self.folder.join(stale));
        }
        self.send("run")
    }

    /// Appends lines to a file in the folder.
    pub(crate) fn append(&self, file: &str, text: &str) -> Result<(), String> {
        let mut lines = text.lines();
        lines.try_for_each(|line| self.send(&format!("append {file} {line}")))
    }

    fn send(&self, command: &str) -> Result<(), String> {
        let mut commands = self.commands.as_ref().expect("BUG: taken only by drop");
        writeln!(commands, "{command}").map_err(|error| format!("the supervisor is gone: {error}"))
    }

    /// Blocks until `is_ready` returns true.
    ///
    /// # Errors
    ///
    /// If the program ends first or takes too long. The message has the end of the program's
    /// output.
    pub(crate) fn block_until(&self, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !self.check(&is_ready, start)? {
            thread::sleep(INTERVAL);
        }
        Ok(())
    }

    /// As [`block_until`](Self::block_until), without blocking the thread.
    pub(crate) async fn wait_until(&self, is_ready: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !self.check(&is_ready, start)? {
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// True if no process of the program is left.
    pub(crate) fn has_ended(&self) -> bool {
        self.folder.join("exit").exists()
    }

    fn check(&self, is_ready: impl Fn() -> bool, start: Instant) -> Result<bool, String> {
        // The end of the program may be what the caller waits for, and may come between the two.
        let has_ended = self.has_ended();
        if is_ready() {
            return Ok(true);
        }
        if has_ended {
            return Err(self.log());
        }
        if start.elapsed() > START_TIMEOUT {
            return Err(format!("not ready after {START_TIMEOUT:?}; {}", self.log()));
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

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        // An error means that the supervisor has ended already.
        let _ = self.child.wait();
    }
}
