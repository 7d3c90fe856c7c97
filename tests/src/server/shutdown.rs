//! Stopping and restarting a private server during a test.

use std::fs;
use std::process::Command;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Server;
use super::cluster::Cluster;

/// How a server is stopped.
///
/// The servers of the harness commit asynchronously. All modes but [`Fast`](Self::Fast) lose recent
/// commits, except those of sessions that have set `synchronous_commit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// The server ends every session with an error (57P01), then itself (`SIGINT`).
    Fast,
    /// All processes end at once and send a warning (57P02) to each client. The server recovers
    /// when it starts again (`SIGQUIT`).
    Immediate,
    /// All processes are killed, as in a crash of the machine. Clients receive nothing (`SIGKILL`).
    Kill,
}

impl Server {
    /// Stops the server, and returns when its last process has ended. A server that has ended
    /// already is left as it is.
    ///
    /// # Panics
    ///
    /// If the server is not private, or does not end.
    pub async fn stop(&self, how: Shutdown) {
        let cluster = self.cluster();
        if !cluster.has_ended() {
            shut_down(cluster, how);
        }
        let ended = cluster.wait_until_ended().await;
        ended.unwrap_or_else(|reason| panic!("a server can be stopped: {reason}"));
    }

    /// Stops the server unless it has ended, and starts it again with the same data and the same
    /// socket. Returns when the server accepts connections.
    ///
    /// # Panics
    ///
    /// If the server is not private, does not end, or does not start.
    pub async fn restart(&self, how: Shutdown) {
        self.stop(how).await;
        let started = self.cluster().start_again().await;
        started.unwrap_or_else(|reason| panic!("a server can be started again: {reason}"));
    }
}

fn shut_down(cluster: &Cluster, how: Shutdown) {
    let postmaster = cluster
        .postmaster()
        .expect("a running server has a pid file");
    let (signal, others) = match how {
        Shutdown::Fast => (Signal::SIGINT, Vec::new()),
        Shutdown::Immediate => (Signal::SIGQUIT, Vec::new()),
        // The children are listed before the postmaster ends and killed after it, because the
        // postmaster would replace them. It is stopped before that: a child that started in between
        // could wait for a lock of a child that is killed, and would never end.
        Shutdown::Kill => {
            stop_process(postmaster);
            (Signal::SIGKILL, children_of(postmaster))
        }
    };
    for pid in [vec![postmaster], others].concat() {
        // An error means that the process has ended already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Stops a process, and returns when it has stopped or ended.
fn stop_process(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
    let runs = |process: &Process| process.pid == pid && !process.state.starts_with(['T', 'Z']);
    while processes().iter().any(runs) {
        thread::yield_now();
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let processes = processes();
    let children = processes.iter().filter(|process| process.parent == parent);
    children.map(|process| process.pid).collect()
}

struct Process {
    pid: i32,
    parent: i32,
    /// `T` is stopped, `Z` a zombie.
    state: String,
}

/// All processes.
fn processes() -> Vec<Process> {
    let Ok(folders) = fs::read_dir("/proc") else {
        return processes_listed();
    };
    let stats = folders
        .flatten()
        .filter_map(|folder| fs::read_to_string(folder.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (pid, rest) = stat.split_once(' ')?;
            // The name may contain any character, also parentheses.
            let mut fields = rest.rsplit_once(") ")?.1.split(' ');
            process(pid, fields.next()?, fields.next()?)
        })
        .collect()
}

/// As [`processes`], for systems without `/proc`.
fn processes_listed() -> Vec<Process> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,state=,ppid="])
        .output()
        .unwrap_or_else(|error| panic!("`ps`: {error}"));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            process(fields.next()?, fields.next()?, fields.next()?)
        })
        .collect()
}

fn process(pid: &str, state: &str, parent: &str) -> Option<Process> {
    Some(Process {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        state: state.to_owned(),
    })
}
