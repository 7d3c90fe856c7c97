//! `run`: a command under a lock, as flock(1) runs one.

mod child;
mod launch;

use std::ffi::OsString;
use std::ops::ControlFlow::{Break, Continue};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use advisory_core::{Error, SessionGuard};
use clap::Args;

use self::child::{Child, End};
pub(crate) use self::launch::{Launch, launch};
use crate::acquisition::Acquisition;
use crate::exit::{Code, EXIT_CODES, Failure, death};
use crate::seconds;
use crate::server::Server;
use crate::signal::{Signals, heed_children};

/// Run a command while holding a lock, as flock(1) does.
///
/// The lock is taken, the command runs, the lock is released, and the command's exit code is ours. Standard input, output and error are
/// the command's: nothing is written but a line on standard error if something is wrong. `PG_ADVISORY_KEY` in its environment is the
/// key that is held. Unlike flock's, the lock is held by `advisory` and not by a file that is inherited: it is released when the command
/// itself ends, even if something that it has started in the background goes on.
///
/// Loss: if the session that holds the lock ends, because the server restarts or somebody terminates it, the lock is free for others at
/// once. The command then gets SIGTERM at once and, if it is still there after `--grace`, SIGKILL; our code is 76. A connection that is
/// closed is noticed at once; a network that has gone silent, after twice the interval of `--probe`. So a command is gone
/// at the latest 2 × `--probe` + `--grace` after others can hold the lock (`--probe` + 1 s + `--grace` if `--probe` is less than a
/// second): 20 seconds, if not set. The code is 76, whatever the command's own, also if the lock turns out to have been lost when it is
/// to be released, or the server does not say. A command that changes its user, as `sudo` does, cannot be ended by us, and goes on.
///
/// If `advisory` itself is killed with SIGKILL, the server frees the lock as the connection closes. On Linux the command is then killed
/// too, at once, unless its program is set-user-ID; what it has started, and the command itself on other systems, goes on without the lock.
/// The same is true while `advisory` is stopped (SIGSTOP): it notices nothing.
///
/// Signals: SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT and SIGWINCH are passed on to the command; before it has started,
/// while the lock is waited for, the first six end the wait. A signal that was ignored when we were started, as under `nohup`, stays so.
/// Started from a terminal, the command is in our process group, so that it can read from there, and Ctrl-C and Ctrl-Z reach it from
/// the terminal, once; a signal of ours goes to the command alone. Started without one, by cron or a service manager, the command
/// has a process group of its own, and signals (SIGTSTP too), also those of a loss, go to the whole of it: to what a script has
/// started as well as to the script.
#[derive(Args, Clone)]
#[command(after_help = after_help())]
pub(crate) struct Run {
    #[command(flatten)]
    acquisition: Acquisition,
    /// How long the command has after SIGTERM, when the lock is lost, before it gets SIGKILL; 0 is SIGKILL at once.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::timeout, default_value = "10", allow_negative_numbers = true)]
    grace: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  From cron on several machines, on one of which it runs; the others end with 0 and without a mail:
    */5 * * * *  advisory run --skip sync -- /usr/local/bin/sync
  Wait for at most a minute, then end with 75:
    advisory run --timeout 60 deploy -- ./deploy.sh production
  Together with other readers, but not while somebody holds it alone:
    advisory run --shared catalogue -- ./report.sh
  Under the lock that `pglock.advisory(\"sync\")` takes in Django:
    advisory run --key-scheme django-pglock sync -- ./sync.sh
  Several commands, and the key:
    advisory run nightly -- sh -c 'echo \"under $PG_ADVISORY_KEY\" && ./dump && ./upload'

{EXIT_CODES}"
    )
}

/// Runs the command under the lock; how it has ended.
pub(crate) async fn run(options: &Run, server: &Server) -> Result<ExitCode, Failure> {
    let mut signals = Signals::catch()?;
    heed_children()?;
    let guard = match options.acquisition.acquire(server, &mut signals).await? {
        Continue(guard) => guard,
        Break(code) => return Ok(code),
    };
    match under(&guard, options, &mut signals).await {
        // A lock that is lost needs no release.
        Err(failure) if guard.is_lost() => Err(failure),
        outcome => finish(guard, outcome).await,
    }
}

/// The command, for as long as the lock is held.
async fn under(
    guard: &SessionGuard,
    options: &Run,
    signals: &mut Signals,
) -> Result<ExitStatus, Failure> {
    let key: Vec<_> = guard
        .lock()
        .keys()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut child = Child::start(&options.command, &key.join(","))
        .map_err(|error| launch::refusal(&options.command[0], &error))?;
    signals.catch_also(child.signals())?;
    match guard.until_lost(child.attend(signals)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(error)) => {
            let message = format!("cannot tell how the command has ended: {error}");
            Err(Failure::new(Code::Failure, message))
        }
        Err(loss) => {
            let end = child.end(signals, options.grace).await;
            Err(lost(&loss, &end, options.grace))
        }
    }
}

fn lost(loss: &Error, end: &End, grace: Duration) -> Failure {
    let end = match end {
        End::Terminated => "the command was ended".to_owned(),
        End::Killed if grace.is_zero() => "the command was killed".to_owned(),
        End::Killed => format!("the command was killed, {grace:?} after SIGTERM"),
        End::Refused(error) => format!("the command cannot be ended and goes on: {error}"),
    };
    Failure::new(Code::Lost, format!("{loss}; {end}"))
}

/// Releases the lock. One that was lost after the last look is lost all the same: somebody else may have held it while the command
/// still ran, so its own code would say too much.
async fn finish(
    guard: SessionGuard,
    outcome: Result<ExitStatus, Failure>,
) -> Result<ExitCode, Failure> {
    let released = guard.release().await;
    let status = outcome?;
    match released {
        Ok(()) => Ok(code(status)),
        Err(error) => {
            let message = format!("the command has ended ({status}), but: {error}");
            Err(Failure::new(Code::Lost, message))
        }
    }
}

/// A command's code as the shell has it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or_else(
        || death(status.signal().unwrap_or_default()),
        ExitCode::from,
    )
}
