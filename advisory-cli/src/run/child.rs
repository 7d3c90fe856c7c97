//! The command that runs.

use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child as Process, Command};
use tokio::time::{sleep, timeout};

use super::launch::launcher;
use crate::signal::Signals;
use crate::terminal;

/// How often it is looked whether a process group is empty: nobody tells.
const LOOK: Duration = Duration::from_millis(20);

/// A command that runs.
pub(crate) struct Child {
    process: Process,
    pid: Pid,
    reach: Reach,
}

/// Whom a signal reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The command alone, which shares our process group: only so does it keep the terminal, as one of the pipeline that it is in.
    Process,
    /// The command and what it has started: a process group, where there is no terminal to lose.
    Group,
}

/// How a command was ended.
pub(crate) enum End {
    /// It has heeded SIGTERM.
    Terminated,
    /// It has not, or was not asked.
    Killed,
    /// It runs on: it belongs to another user now.
    Refused(Errno),
}

impl Child {
    /// Starts a command. Where there is a launcher, it is the launcher who finds out that the command cannot be run; and it ties the
    /// command to the thread that this is called on, which has to be the main one.
    pub(crate) fn start(command: &[OsString], key: &str) -> io::Result<Self> {
        let reach = if terminal::is_there() {
            Reach::Process
        } else {
            Reach::Group
        };
        let mut command = prepare(command);
        if reach == Reach::Group {
            command.process_group(0);
        }
        let process = command
            .env("PG_ADVISORY_KEY", key)
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().and_then(|pid| pid.try_into().ok());
        let pid = pid.map(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            process,
            pid,
            reach,
        })
    }

    /// The signals to pass on, besides those that end us.
    pub(crate) fn signals(&self) -> &'static [Signal] {
        match self.reach {
            // Ctrl-Z stops us all, and the shell has the terminal back.
            Reach::Process => &[Signal::SIGCONT, Signal::SIGWINCH],
            Reach::Group => &[Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGTSTP],
        }
    }

    /// Passes signals on until the command has ended.
    pub(crate) async fn attend(&mut self, signals: &mut Signals) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.process.wait() => return status,
                signal = signals.next() => self.forward(signal),
            }
        }
    }

    /// Ends the command: it is asked to, and has this long to do so.
    pub(crate) async fn end(&mut self, signals: &mut Signals, grace: Duration) -> End {
        if !grace.is_zero() {
            // Refused for the same reason as the other, if at all.
            let _ = self.deliver(Signal::SIGTERM);
            // What is stopped heeds nothing.
            let _ = self.deliver(Signal::SIGCONT);
            if timeout(grace, self.gone(signals)).await.is_ok() {
                return End::Terminated;
            }
        }
        match self.deliver(Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {
                let _ = self.process.wait().await;
                End::Killed
            }
            Err(error) => End::Refused(error),
        }
    }

    /// Until nobody is left whom a signal would reach.
    async fn gone(&mut self, signals: &mut Signals) {
        let _ = self.attend(signals).await;
        while self.reach == Reach::Group && killpg(self.pid, None) != Err(Errno::ESRCH) {
            sleep(LOOK).await;
        }
    }

    fn forward(&self, signal: Signal) {
        let typed = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH);
        // The terminal has sent it to the command as well, and twice may mean something else than once.
        let has_it = self.reach == Reach::Process && typed && terminal::is_ours();
        if !has_it {
            // A command that has just ended needs none.
            let _ = self.deliver(signal);
        }
    }

    fn deliver(&self, signal: Signal) -> nix::Result<()> {
        match self.reach {
            Reach::Group => killpg(self.pid, signal),
            // Once it has ended, its number may be somebody else's.
            Reach::Process if self.process.id().is_none() => Err(Errno::ESRCH),
            Reach::Process => kill(self.pid, signal),
        }
    }
}

fn prepare(command: &[OsString]) -> Command {
    if let Some(launcher) = launcher() {
        let mut launch = Command::new(launcher);
        let parent = std::process::id().to_string();
        launch.arg0("advisory").args(["launch", &parent, "--"]);
        launch.args(command);
        return launch;
    }
    let (program, arguments) = command.split_first().unzip();
    let mut direct = Command::new(program.cloned().unwrap_or_default());
    direct.args(arguments.unwrap_or_default());
    direct
}
