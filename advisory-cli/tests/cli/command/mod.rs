//! The built command: starts it, talks to it, signals it, and checks its outcome.

use std::process::Stdio;
use std::time::Duration;

use advisory_tests::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// How long any step of a test may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The oid of the database of a connection, which the messages about a lock in the log of the
/// server begin with.
pub(crate) const DATABASE_OID: &str =
    "SELECT oid::int8 FROM pg_database WHERE datname = current_database()";

pub(crate) const ADVISORY: &str = env!("CARGO_BIN_EXE_advisory");

/// Runs `advisory` on a database, without input and without a terminal.
pub(crate) async fn advisory(database: &Database, arguments: &[&str]) -> Outcome {
    output_of(advisory_command(database, arguments)).await
}

/// What `advisory` prints when it succeeds without a message on standard error.
pub(crate) async fn printed(database: &Database, arguments: &[&str]) -> String {
    let outcome = advisory(database, arguments).await;
    outcome.assert_silent(0);
    outcome.text().to_owned()
}

/// What `advisory` prints with `--json`.
pub(crate) async fn printed_json<T: DeserializeOwned>(
    database: &Database,
    arguments: &[&str],
) -> T {
    let json = printed(database, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&json).unwrap()
}

/// Runs `advisory` with other connection options, such as another role.
pub(crate) async fn advisory_as(options: &PgConnectOptions, arguments: &[&str]) -> Outcome {
    let url = options.to_url_lossy();
    output_of(command_with_url(url.as_str(), arguments)).await
}

pub(crate) fn advisory_command(database: &Database, arguments: &[&str]) -> Command {
    command_with_url(&database.url(), arguments)
}

pub(crate) fn command_with_url(url: &str, arguments: &[&str]) -> Command {
    with_url(Command::new(ADVISORY), url, arguments)
}

/// Adds the arguments, the URL of the server and the default colours to a command that starts
/// `advisory`.
pub(crate) fn with_url(mut command: Command, url: &str, arguments: &[&str]) -> Command {
    command
        .args(arguments)
        .env("DATABASE_URL", url)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// `advisory` with its standard error in its standard output.
pub(crate) fn with_stderr(url: &str, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1", ADVISORY]);
    with_url(shell, url, arguments)
}

/// The arguments of `run a` with these options, and with a script for `sh`.
pub(crate) fn run_script<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run", "a"], options, &["--", "sh", "-c", script]].concat()
}

/// Runs a command to its end, without input.
pub(crate) async fn output_of(command: Command) -> Outcome {
    let mut running = Running::start(command);
    running.close_input();
    running.end().await
}

/// A process whose standard input is open until `close_input` is called.
pub(crate) struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Catches the signals that are ignored in this process: the command would inherit that. Tests that
/// run in the background of a shell ignore some.
fn catch_ignored_signals() {
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

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        catch_ignored_signals();
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

    /// Starts a command, and returns when the script that it runs has printed `ready`.
    pub(crate) async fn ready(command: Command) -> Self {
        let mut running = Self::start(command);
        assert_eq!(running.line().await, "ready");
        running
    }

    /// The next line of standard output; empty at the end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(TIMEOUT, self.stdout.read_line(&mut line)).await;
        read.expect("there is a line, or an end").unwrap();
        line.trim_end().to_owned()
    }

    /// The lines of standard output until there is this text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let read = timeout(TIMEOUT, self.stdout.read_line(&mut seen)).await;
            let read = read.unwrap_or_else(|_| panic!("`{text}` is not seen: {seen:?}"));
            assert_ne!(read.unwrap(), 0, "it has ended without `{text}`: {seen:?}");
        }
        seen
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
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

    /// Waits until the process has ended, and every process that writes to its output.
    pub(crate) async fn end(mut self) -> Outcome {
        let mut stderr = self.process.stderr.take().expect("BUG: it is piped");
        let (mut out, mut err) = (Vec::new(), String::new());
        let all = async {
            tokio::try_join!(
                self.stdout.read_to_end(&mut out),
                stderr.read_to_string(&mut err),
                self.process.wait(),
            )
        };
        let ended = timeout(TIMEOUT, all).await;
        let (_, _, status) = ended.expect("it ends").unwrap();
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: out,
            stderr: err,
        }
    }

    /// Waits for the end, and checks it with [`Outcome::assert_only_fails`].
    pub(crate) async fn fails(self, code: i32, text: &str) {
        self.end().await.assert_only_fails(code, text);
    }
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// -1 if a signal has ended the command.
    pub(crate) code: i32,
    /// What `Running::line` has not read.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Standard output as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Checks the exit code, and that standard error is one line with all of these texts.
    #[track_caller]
    pub(crate) fn assert_fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("advisory: "), "{self:?}");
        assert_contains(&self.stderr, texts);
    }

    /// Checks the exit code, the line on standard error, and that standard output is empty.
    #[track_caller]
    pub(crate) fn assert_only_fails(&self, code: i32, text: &str) {
        self.assert_fails(code, &[text]);
        assert_eq!(self.stdout, b"", "{self:?}");
    }

    /// Checks the exit code, and that standard error is empty.
    #[track_caller]
    pub(crate) fn assert_silent(&self, code: i32) {
        assert_eq!((self.code, &*self.stderr), (code, ""), "{self:?}");
    }
}

/// A file of names, which is removed when it is dropped.
pub(crate) fn names_file(lines: &str) -> TempPath {
    let file = NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, lines).unwrap();
    file
}

/// Checks that a text has all of these parts.
#[track_caller]
pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
}

/// Waits until a state is reached.
pub(crate) async fn wait_until(state: &str, is_reached: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_reached() {
        assert!(Instant::now() < deadline, "{state}");
        sleep(Duration::from_millis(5)).await;
    }
}
