//! Orphans: processes that become children of this process when their own parents end, because it
//! is process 1 of a container or a subreaper.

use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Reaps every child that has ended, except the command, whose exit code is needed.
#[derive(Clone)]
pub(super) struct Reaper {
    /// Locked while the command starts, so that it is known before it can end.
    command: Arc<Mutex<Option<Pid>>>,
}

impl Reaper {
    /// Starts to reap, in the background. This also catches SIGCHLD: if it was ignored when this
    /// process started, the system would discard the exit codes of child processes.
    pub(super) fn start() -> Result<Self, Failure> {
        let mut ended = signal(SignalKind::child())
            .map_err(|error| Failure::other(format!("cannot catch SIGCHLD: {error}")))?;
        let reaper = Self {
            command: Arc::default(),
        };
        let background = reaper.clone();
        tokio::spawn(async move {
            loop {
                background.reap();
                ended.recv().await;
            }
        });
        Ok(reaper)
    }

    /// Starts the command, which is then not reaped. `start` returns it with its process id.
    pub(super) fn except<T, E>(
        &self,
        start: impl FnOnce() -> Result<(T, Pid), E>,
    ) -> Result<(T, Pid), E> {
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        let started = start()?;
        *command = Some(started.1);
        Ok(started)
    }

    fn reap(&self) {
        let command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(child) = ended_child().filter(|child| Some(*child) != *command) {
            reap(child);
        }
    }
}

/// A child that has ended, and stays to be reaped.
#[cfg(target_os = "linux")]
fn ended_child() -> Option<Pid> {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags).ok()?.pid()
}

/// Only Linux has PID namespaces and subreapers.
#[cfg(not(target_os = "linux"))]
fn ended_child() -> Option<Pid> {
    None
}

fn reap(child: Pid) {
    use nix::sys::wait::{WaitPidFlag, waitpid};

    // It has ended, so this neither waits nor fails.
    let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
}
