//! `advisory run`: run a command under a lock, as flock(1) does.

use std::ffi::OsString;
use std::ops::ControlFlow::{Break, Continue};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use advisory_core::{Error, SessionGuard};
use clap::Args;

use super::child::{Child, End, Reach, variables};
use super::exec::exec_failure;
use super::options::AcquireOptions;
use super::orphan::Reaper;
use super::schedule::{Schedule, Turn};
use super::signals::Signals;
use crate::duration;
use crate::exit::{Code, EXIT_CODES, Failure, exit_code, signal_code};
use crate::server::Server;

/// Run a command while holding a lock, as flock(1) does.
///
/// `run` acquires the lock, runs the command, releases the lock, and exits with the command's exit
/// code. Standard input, output and error are the command's; `run` prints a line on standard error
/// only if something fails, or if it waits for more than a second on a terminal or with
/// `--verbose`. The environment variable `PG_ADVISORY_KEY` is the key of the lock; with
/// `--permits`, the key that is held can be that of another slot. Unlike with flock(1), the lock
/// belongs to `run` and not to a file that child processes inherit: the lock is released when the
/// command itself ends, even if processes that it has started in the background go on.
///
/// Loss: if the session that holds the lock ends, because the server restarts or the session is
/// terminated, other sessions can acquire the lock at once. The command then gets SIGTERM and, if
/// it still runs after `--grace`, SIGKILL. A closed connection is noticed at once, a network that
/// has gone silent after at most twice `--probe`. The command therefore ends at most
/// 2 × `--probe` + `--grace` after others can hold the lock (`--probe` + 1 s + `--grace` if
/// `--probe` is less than a second); that is 20 seconds by default. The exit code is 76, whatever
/// the command's own code is. It is also 76 if the loss is found only when the lock is released, or
/// if the server does not confirm the release. A process that changes its user, as `sudo` does,
/// cannot be ended unless `run` runs as root, and goes on.
///
/// If `advisory` itself is killed with SIGKILL, its connection closes and the server frees the
/// lock. On Linux the command is then killed at once, unless its program is set-user-ID. Processes
/// that the command has started, and on other systems the command itself, go on without the lock.
/// While `advisory` is stopped (SIGSTOP), it does not notice a loss, and the command goes on too.
///
/// Signals: SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT and SIGWINCH are forwarded
/// to the command. While `run` waits for the lock, the first six end the wait. A signal that was
/// ignored when `run` started, as under `nohup`, stays ignored. If `run` is started from a
/// terminal, the command is in the same process group: it can read from the terminal, Ctrl-C and
/// Ctrl-Z reach it once, and a signal that is sent to `advisory` goes to the command alone. SIGINT
/// and SIGQUIT that are sent to `advisory` in the foreground of a terminal are the exception: they
/// look like keys, which reach the command through the terminal, and are not forwarded. Send
/// SIGTERM instead. If `run` is started without a terminal, by cron or a service manager, the
/// command has a process group of its own, and all signals (SIGTSTP too, and those of a loss) go to
/// the whole group: to a script and to the processes that it has started.
#[derive(Args, Clone)]
#[command(
    after_help = after_help(),
    override_usage = "advisory run [OPTIONS] <NAME> [--] <COMMAND> [ARGUMENTS]...\n       \
                      advisory run [OPTIONS] <NAME> --command <SCRIPT>"
)]
pub(crate) struct Run {
    #[command(flatten)]
    options: AcquireOptions,
    /// Exit with 0 and print nothing if the lock is not acquired. Does not wait, unless `--timeout`
    /// is given.
    #[arg(long, conflicts_with = "conflict_exit_code")]
    skip: bool,
    /// Take a fencing token, a number that grows with every holder, and give it to the command in
    /// the environment variable `ADVISORY_FENCE`. Another system that remembers the highest token
    /// can refuse the work of a holder that has lost the lock.
    #[arg(long)]
    fence: bool,
    #[command(flatten)]
    schedule: Schedule,
    /// When the lock is lost, how long the command has between SIGTERM and SIGKILL; 0 sends SIGKILL
    /// at once.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_timeout, default_value = "10", allow_negative_numbers = true)]
    grace: Duration,
    /// Run this script with `sh -c`, instead of a command.
    #[arg(long = "command", short = 'c', value_name = "SCRIPT")]
    shell_command: Option<OsString>,
    /// The command and its arguments. `--` is needed before a command that begins with `-`.
    #[arg(
        trailing_var_arg = true,
        required_unless_present = "shell_command",
        conflicts_with = "shell_command",
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  From cron on several machines; one runs it, the others exit with 0 and send no mail:
    */5 * * * *  advisory run --skip sync /usr/local/bin/sync
  Once a night in the whole fleet, whatever the clocks of its machines say:
    30 3 * * *  advisory run --every 1d nightly /usr/local/bin/nightly
  Wait for at most five minutes, then exit with 75; also for a server that is starting:
    advisory run --timeout 5m deploy ./deploy.sh production
  Together with other shared holders, but not with an exclusive one:
    advisory run --shared catalogue ./report.sh
  At most three at a time in the whole fleet; the others wait for their turn:
    advisory run --permits 3 export ./export.sh
  Under the lock that `pglock.advisory(\"sync\")` takes in Django:
    advisory run --key-scheme django-pglock sync ./sync.sh
  Several commands, and the key:
    advisory run nightly -c 'echo \"under $PG_ADVISORY_KEY\" && ./dump && ./upload'

{EXIT_CODES}"
    )
}

impl Run {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut signals = Signals::catch()?;
        let reaper = Reaper::start()?;
        let end = async { Ok(signal_code(signals.next().await as i32)) };
        let mut guard = match self.options.acquire(server, self.skip, end).await? {
            Continue(guard) => guard,
            Break(code) => return Ok(code),
        };
        let Some(turn) = self.schedule.begin(&mut guard).await? else {
            let lock = guard.lock_id();
            let progress = self.options.progress();
            progress.print(format_args!("skipped: {lock} has run in this period"));
            guard.release().await?;
            return Ok(ExitCode::SUCCESS);
        };
        let result = self.run_command(&mut guard, &turn, &mut signals, &reaper);
        match result.await {
            // A lost lock needs no release.
            Err(failure) if guard.is_lost() => Err(failure),
            result => {
                turn.end(&mut guard, &result, &mut signals).await?;
                release(guard, result).await
            }
        }
    }

    /// Runs the command until it ends or the lock is lost.
    async fn run_command(
        &self,
        guard: &mut SessionGuard,
        turn: &Turn,
        signals: &mut Signals,
        reaper: &Reaper,
    ) -> Result<ExitStatus, Failure> {
        let command = match &self.shell_command {
            Some(script) => &["sh".into(), "-c".into(), script.clone()][..],
            None => &self.command,
        };
        let variables = self.variables(guard, turn).await?;
        let reach = Reach::of_this_process();
        signals.catch_also(reach.signals())?;
        let mut child = Child::start(command, variables, reach, reaper)
            .map_err(|error| exec_failure(&command[0], &error))?;
        match guard.until_lost(child.forward_signals(signals)).await {
            Ok(status) => status.map_err(|error| {
                Failure::other(format!("the exit code of the command is unknown: {error}"))
            }),
            Err(loss) => {
                let end = child.end(signals, self.grace).await;
                Err(lost(&loss, &end, self.grace))
            }
        }
    }

    /// What the command finds in its environment.
    async fn variables(
        &self,
        guard: &mut SessionGuard,
        turn: &Turn,
    ) -> Result<Vec<(&'static str, String)>, Failure> {
        let fence = match turn.fence() {
            None if self.fence => Some(guard.fencing_token().await?),
            fence => fence,
        };
        Ok(variables(guard.lock_id().keys(), fence))
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

/// Releases the lock. If the release fails, the lock may have been lost while the command still
/// ran, and the command's own exit code does not count.
async fn release(
    guard: SessionGuard,
    result: Result<ExitStatus, Failure>,
) -> Result<ExitCode, Failure> {
    let released = guard.release().await;
    let status = result?;
    match released {
        Ok(()) => Ok(exit_code(status)),
        Err(error) => {
            let message = format!("the command has ended ({status}), but: {error}");
            Err(Failure::new(Code::Lost, message))
        }
    }
}
