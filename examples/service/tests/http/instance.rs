//! A process of the built service.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use advisory_tests::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{self, Answer};

/// How long a test waits for a state.
pub(crate) const STATE_TIMEOUT: Duration = Duration::from_secs(30);

/// A running service, which is killed when this value is dropped.
pub(crate) struct Instance {
    process: Child,
    /// Kept open, because the service fails if it prints to a closed pipe.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Instance {
    /// Starts an instance on a free port, and waits until it listens.
    pub(crate) async fn start(database: &Database, name: &str, arguments: &[&str]) -> Self {
        let mut process = Self::spawn(database, name, arguments);
        let mut stdout = BufReader::new(process.stdout.take().expect("BUG: stdout is piped"));
        let mut line = String::new();
        let read = timeout(STATE_TIMEOUT, stdout.read_line(&mut line)).await;
        read.expect("the service prints its address").unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("expected an address, found `{line}`"));
        Self {
            process,
            _stdout: stdout,
            address: address.parse().unwrap(),
        }
    }

    /// Starts the process. Unless the arguments set other values, the timeouts are long and the
    /// intervals short.
    pub(crate) fn spawn(database: &Database, name: &str, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_service"))
            .args(["--listen", "127.0.0.1:0", "--instance", name])
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .envs([("TURN", "60"), ("GRACE", "60"), ("STAND_EVERY", "0.05")])
            .envs([("SWEEP_EVERY", "0.02"), ("RUST_LOG", "error")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the service starts")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.process, signal);
    }

    /// Waits for the process and returns its exit code, or `None` if it was killed.
    pub(crate) async fn exit_code(self) -> Option<i32> {
        exit_code(self.process).await
    }

    /// Sends SIGTERM, and asserts that the service exits without an error.
    pub(crate) async fn shut_down(self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.exit_code().await, Some(0));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        client::get(self.address, path).await.unwrap()
    }

    /// Repeats the request until the response has this status.
    pub(crate) async fn wait_until_status(&self, path: &str, status: u16) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == status {
                return answer;
            }
            assert!(
                start.elapsed() < STATE_TIMEOUT,
                "expected {status}, found {answer:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the port is closed.
    pub(crate) async fn wait_until_closed(&self) {
        let start = Instant::now();
        while tokio::net::TcpStream::connect(self.address).await.is_ok() {
            assert!(start.elapsed() < STATE_TIMEOUT, "the port is still open");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn send(process: &Child, signal: Signal) {
    let pid = process.id().expect("the service runs");
    kill(Pid::from_raw(pid.cast_signed()), signal).expect("the service runs");
}

pub(crate) async fn exit_code(mut process: Child) -> Option<i32> {
    let status = timeout(STATE_TIMEOUT, process.wait()).await;
    status.expect("the service exits").unwrap().code()
}
