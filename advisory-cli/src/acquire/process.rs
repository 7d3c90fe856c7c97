//! A process of somebody else, whose end is waited for.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::sleep;

use crate::exit::Failure;

/// How often to look for a process where the system does not report its end.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Process {
    pid: i32,
    #[cfg(target_os = "linux")]
    handle: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Process {
    /// Begins to watch a process. Fails if there is none with this id.
    pub(super) fn watch(pid: i32) -> Result<Self, Failure> {
        if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            return Err(Failure::usage(format!("there is no process {pid}")));
        }
        Ok(Self {
            pid,
            #[cfg(target_os = "linux")]
            handle: handle(pid),
        })
    }

    /// Waits until the process has ended, and returns its id.
    pub(super) async fn ended(&mut self) -> i32 {
        #[cfg(target_os = "linux")]
        if let Some(handle) = &self.handle
            && handle.readable().await.is_ok()
        {
            return self.pid;
        }
        while kill(Pid::from_raw(self.pid), None) != Err(Errno::ESRCH) {
            sleep(POLL).await;
        }
        self.pid
    }
}

/// Becomes readable when the process ends, even if its parent does not reap it. `None` before Linux
/// 5.3, and where a container forbids it.
#[cfg(target_os = "linux")]
fn handle(pid: i32) -> Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    #[allow(deprecated, reason = "its successor is newer than the oldest tokio")]
    AsyncFd::with_interest(handle, Interest::READABLE).ok()
}
