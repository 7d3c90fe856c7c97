//! The built service: started, asked, signalled, and waited for.

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

/// How long a state may take to come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process, killed when it is dropped.
pub(crate) struct Instance {
    process: Child,
    /// Open until the end: a service whose output is closed cannot speak.
    _stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Instance {
    /// Starts it on any port, patient with locks and quick to stand, if the arguments do not say
    /// otherwise.
    pub(crate) async fn start(database: &Database, name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_service"))
            .args(["--listen", "127.0.0.1:0", "--instance", name])
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .envs([("TURN", "60"), ("GRACE", "60"), ("STAND_EVERY", "0.05")])
            .envs([("SWEEP_EVERY", "0.02"), ("RUST_LOG", "error")])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be started");
        let mut stdout = BufReader::new(process.stdout.take().expect("BUG: it is piped"));
        let mut line = String::new();
        let read = timeout(PATIENCE, stdout.read_line(&mut line)).await;
        read.expect("it says where it listens").unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("expected an address, found `{line}`"));
        Self {
            process,
            _stdout: stdout,
            address: address.parse().unwrap(),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.process.id().expect("it runs");
        kill(Pid::from_raw(pid.cast_signed()), signal).expect("it runs");
    }

    /// Waits for its end, and for its exit code; `None` if it was killed.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let status = timeout(PATIENCE, self.process.wait()).await;
        status.expect("it ends").unwrap().code()
    }

    /// Tells it to end, which it does in order.
    pub(crate) async fn end(self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended().await, Some(0));
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        client::get(self.address, path).await.unwrap()
    }

    /// Asks again and again until the answer has this status.
    pub(crate) async fn until_status(&self, path: &str, status: u16) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == status {
                return answer;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "expected {status}, found {answer:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn until_closed(&self) {
        let start = Instant::now();
        while tokio::net::TcpStream::connect(self.address).await.is_ok() {
            assert!(start.elapsed() < PATIENCE, "it still listens");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
