//! The command of `run`, as a child process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use advisory_core::Key;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};
use tokio::process::Child as Process;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use super::exec::prepare;
use super::orphan::Reaper;
use super::process_group;
use super::signals::Signals;

/// How often to check whether a process group has ended. There is no notification for that.
const GROUP_POLL: Duration = Duration::from_millis(20);

pub(super) struct Child {
    process: Process,
    pid: Pid,
    reach: Reach,
}

/// The processes that a signal is sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The command alone. It shares our process group, so that it keeps the terminal.
    Process,
    /// The process group of the command: the command and the processes that it has started. Used
    /// without a terminal.
    Group,
}

/// How a command ended.
pub(super) enum End {
    /// SIGTERM ended it.
    Terminated,
    /// SIGKILL ended it.
    Killed,
    /// A process of it still runs and refuses signals, as one that has changed its user does.
    Refused(Errno),
}

/// What a command finds in its environment: the keys that are held, and its fencing token.
pub(super) fn variables(keys: &[Key], fence: Option<i64>) -> Vec<(&'static str, String)> {
    let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
    let fence = fence.map(|fence| ("ADVISORY_FENCE", fence.to_string()));
    let keys = ("PG_ADVISORY_KEY", keys.join(","));
    std::iter::once(keys).chain(fence).collect()
}

impl Reach {
    /// Without a terminal, signals reach all processes that the command starts.
    pub(super) fn of_this_process() -> Self {
        match terminal() {
            Some(_) => Self::Process,
            None => Self::Group,
        }
    }

    /// The signals to forward, besides those that would end this process. They are caught before
    /// the command starts, so that none is lost.
    pub(super) fn signals(self) -> &'static [Signal] {
        match self {
            // Ctrl-Z stops this process and the command, and the shell gets the terminal back.
            Self::Process => &[Signal::SIGCONT, Signal::SIGWINCH],
            Self::Group => &[Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGTSTP],
        }
    }
}

impl Child {
    /// Starts a command with these variables. On Linux, call this on the main thread: the command
    /// is killed when the thread that starts it ends.
    pub(super) fn start(
        command: &[OsString],
        variables: impl IntoIterator<Item = (&'static str, String)>,
        reach: Reach,
        reaper: &Reaper,
    ) -> io::Result<Self> {
        let mut command = prepare(command);
        if reach == Reach::Group {
            command.process_group(0);
        }
        command.envs(variables).kill_on_drop(true);
        let (process, pid) = reaper.except(|| {
            let process = command.spawn()?;
            let pid = process.id().and_then(|pid| pid.try_into().ok());
            let pid = pid.map(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
            io::Result::Ok((process, pid))
        })?;
        Ok(Self {
            process,
            pid,
            reach,
        })
    }

    /// Forwards signals until the command has ended.
    pub(super) async fn forward_signals(
        &mut self,
        signals: &mut Signals,
    ) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.process.wait() => return status,
                signal = signals.next() => self.forward(signal),
            }
        }
    }

    /// Forwards signals that another task has received until the command has ended.
    pub(super) async fn forward_received(
        &mut self,
        signals: &mut UnboundedReceiver<Signal>,
    ) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.process.wait() => return status,
                Some(signal) = signals.recv() => self.forward(signal),
            }
        }
    }

    /// Sends the first signal of [`end`](Self::end), at once.
    pub(super) fn ask_to_end(&self, grace: Duration) {
        let signal = if grace.is_zero() {
            Signal::SIGKILL
        } else {
            Signal::SIGTERM
        };
        // `end` repeats it, and finds out whether it is refused.
        let _ = self.send(signal);
    }

    /// Ends the command: with SIGTERM, and after the grace period with SIGKILL.
    pub(super) async fn end(&mut self, signals: &mut Signals, grace: Duration) -> End {
        if !grace.is_zero() {
            // If this is refused, SIGKILL is refused too.
            let _ = self.send(Signal::SIGTERM);
            // A stopped process handles SIGTERM only after it continues.
            let _ = self.send(Signal::SIGCONT);
            if timeout(grace, self.all_ended(signals)).await.is_ok() {
                return End::Terminated;
            }
        }
        // A process that refuses SIGKILL is seen only after the others of the group have ended.
        loop {
            match self.send(Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return End::Refused(error),
            }
            if timeout(GROUP_POLL, self.all_ended(signals)).await.is_ok() {
                return End::Killed;
            }
        }
    }

    /// Waits until every process that a signal is sent to has ended, also one that refuses it.
    pub(super) async fn all_ended(&mut self, signals: &mut Signals) {
        let _ = self.forward_signals(signals).await;
        while self.reach == Reach::Group && process_group::is_alive(self.pid) {
            sleep(GROUP_POLL).await;
        }
    }

    fn forward(&self, signal: Signal) {
        let is_typed = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH);
        // The terminal sends such a signal to the whole process group, so the command has it. One
        // that another process has sent to this process alone looks the same.
        let is_delivered = self.reach == Reach::Process && is_typed && is_in_foreground();
        if !is_delivered {
            // This fails if the command has just ended.
            let _ = self.send(signal);
        }
    }

    fn send(&self, signal: Signal) -> nix::Result<()> {
        match self.reach {
            Reach::Group => killpg(self.pid, signal),
            // After the command has ended, its pid may belong to another process.
            Reach::Process if self.process.id().is_none() => Err(Errno::ESRCH),
            Reach::Process => kill(self.pid, signal),
        }
    }
}

/// The terminal that this process was started from.
fn terminal() -> Option<File> {
    File::open("/dev/tty").ok()
}

/// Whether our process group is in the foreground of the terminal, and gets the signals of keys
/// such as Ctrl-C.
fn is_in_foreground() -> bool {
    terminal().and_then(|terminal| tcgetpgrp(terminal).ok()) == Some(getpgrp())
}
