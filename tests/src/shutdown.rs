//! The end of a server in the midst of a test, and its return.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::server::Server;

/// How a server ends.
///
/// The harness's servers commit asynchronously: a commit of the last moments is lost with all but the first, unless its
/// session has set `synchronous_commit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Every session is ended and told so (57P01), then the server (`SIGINT`).
    Fast,
    /// All processes end at once, with a warning (57P02) to each client. The server recovers when it starts again (`SIGQUIT`).
    Immediate,
    /// All processes are killed, as in a crash of the machine: nobody says anything (`SIGKILL`).
    Kill,
}

impl Server {
    /// Ends the server, and returns when its last process is gone. Nothing happens if it has ended before.
    ///
    /// # Panics
    ///
    /// If the server is not a private one, or does not end.
    pub async fn stop(&self, how: Shutdown) {
        let cluster = self.cluster();
        if !cluster.has_ended() {
            shut_down(cluster, how);
        }
        let ended = cluster.wait_until_ended().await;
        ended.unwrap_or_else(|reason| panic!("a server can be ended: {reason}"));
    }

    /// Ends the server, or finds it ended, and starts it again on the same data and the same socket. Returns when it can be
    /// connected to.
    ///
    /// # Panics
    ///
    /// If the server is not a private one, does not end, or does not start.
    pub async fn restart(&self, how: Shutdown) {
        self.stop(how).await;
        let started = self.cluster().start_again().await;
        started.unwrap_or_else(|reason| panic!("a server can be started again: {reason}"));
    }
}

fn shut_down(cluster: &Cluster, how: Shutdown) {
    let postmaster = cluster.postmaster().expect("a server that runs says so");
    let (signal, others) = match how {
        Shutdown::Fast => (Signal::SIGINT, Vec::new()),
        Shutdown::Immediate => (Signal::SIGQUIT, Vec::new()),
        // Found before it is gone, and killed after it, which would replace them. One that is born in between ends by
        // itself: it notices that its parent is gone.
        Shutdown::Kill => (Signal::SIGKILL, children_of(postmaster)),
    };
    for pid in [vec![postmaster], others].concat() {
        // An error means that it is gone already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let processes = processes();
    let children = processes.iter().filter(|(_, its)| *its == parent);
    children.map(|(pid, _)| *pid).collect()
}

/// All processes, each with its parent.
fn processes() -> Vec<(i32, i32)> {
    let Ok(folders) = fs::read_dir("/proc") else {
        return processes_listed();
    };
    let stats = folders
        .flatten()
        .filter_map(|folder| fs::read_to_string(folder.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (pid, rest) = stat.split_once(' ')?;
            // The name in between may hold anything, parentheses too. The state comes after it.
            let parent = rest.rsplit_once(") ")?.1.split(' ').nth(1)?;
            Some((pid.parse().ok()?, parent.parse().ok()?))
        })
        .collect()
}

/// The same where there is no `/proc`.
fn processes_listed() -> Vec<(i32, i32)> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid="])
        .output()
        .unwrap_or_else(|error| panic!("`ps`: {error}"));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, parent) = line.trim().split_once(' ')?;
            Some((pid.parse().ok()?, parent.trim().parse().ok()?))
        })
        .collect()
}
