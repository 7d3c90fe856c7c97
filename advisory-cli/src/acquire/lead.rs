//! `advisory lead`: a command that runs on exactly one machine.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Term};
use clap::Args;
use nix::sys::signal::Signal;
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::child::{Child, End, Reach, variables};
use super::exec::exec_failure;
use super::options::{CONNECTIONS, SHORTEST_RESPONSE_TIMEOUT, connect};
use super::orphan::Reaper;
use super::signals::{Signals, is_ending, is_request_to_end};
use super::waiting::Progress;
use crate::duration;
use crate::exit::{EXIT_CODES, Failure, exit_code, print_message, signal_code};
use crate::server::Server;
use crate::sql;
use crate::target::Target;

/// How long a server may be away: as long as it takes.
const UNLIMITED: Duration = Duration::from_hours(24 * 365 * 10);

/// How often to look for the server while another machine leads, or none does.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Keep a command running on exactly one machine.
///
/// `lead` waits until this machine leads, starts the command, and exits with the command's exit
/// code when the command ends. If the session that holds the lock is lost, the command gets SIGTERM
/// and, after `--grace`, SIGKILL; then `lead` waits until it leads again, and starts the command
/// again. A process that changes its user, as `sudo` does, cannot be ended unless `lead` runs as
/// root: it goes on, and the command is not started again before that process has ended by itself.
/// If `lead` is started from a terminal, it ends the command alone, and does not wait for the
/// processes that the command has started.
///
/// While the server cannot be reached, `lead` tries again, without a limit. Of several hosts in the
/// connection string, it finds the new primary after a failover; it skips standbys, unless
/// `target_session_attrs` is given. An error that does not pass by itself, such as a refused login
/// or certificate, ends `lead`.
///
/// The environment variable `ADVISORY_FENCE` is a number that is greater with every start, on any
/// machine: another system that remembers the greatest number can refuse the work of a leader that
/// has lost its lock and does not know it yet. `PG_ADVISORY_KEY` is the key that is held.
///
/// Signals are forwarded to the command as by `run`, so that SIGTERM ends the command first, and
/// gives up the lock then. If the lock is lost after SIGTERM, SIGINT or SIGQUIT has arrived while
/// the command ran, the command is not started again. While `lead` waits, a signal ends it.
#[derive(Args, Clone)]
#[command(
    after_help = after_help(),
    override_usage = "advisory lead [OPTIONS] <NAME> [--] <COMMAND> [ARGUMENTS]..."
)]
pub(crate) struct Lead {
    #[command(flatten)]
    target: Target,
    /// How often to try the lock while another machine leads. A machine leads at most one and a
    /// half times as long after the last leader has ended.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_interval, default_value = "0.5", allow_negative_numbers = true)]
    poll: Duration,
    /// How often to check that the server answers. A network that has gone silent is noticed after
    /// at most twice this time, or after this time and one second if that is more.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_interval, default_value = "5", allow_negative_numbers = true)]
    probe: Duration,
    /// When the lock is lost, how long the command has between SIGTERM and SIGKILL; 0 sends SIGKILL
    /// at once.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_timeout, default_value = "10", allow_negative_numbers = true)]
    grace: Duration,
    /// Say on standard error when the server is away for more than a second, and when it is back.
    /// On a terminal, this is the default.
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments. `--` is needed before a command that begins with `-`.
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  A scheduler on every machine, of which one runs:
    advisory lead scheduler /usr/local/bin/scheduler
  The number of the term, for a store that refuses older ones:
    advisory lead sender sh -c 'exec ./sender --fence \"$ADVISORY_FENCE\"'

{EXIT_CODES}"
    )
}

impl Lead {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut signals = Signals::catch()?;
        let leader = Leader {
            lead: &self,
            reach: Reach::of_this_process(),
            reaper: Reaper::start()?,
            state: Arc::new(watch::Sender::new(State::Waits)),
            lost: Notify::new(),
        };
        signals.catch_also(leader.reach.signals())?;
        let result = tokio::select! {
            code = leader.lead(server) => code,
            signal = leader.forward(&mut signals) => Ok(signal_code(signal as i32)),
        };
        // A command of a term that was lost may still be ending.
        leader.until(|state| !matches!(state, State::Ends)).await;
        result
    }

    fn set(&self, lock: AdvisoryLock) -> AdvisoryLock {
        let lock = lock.tag_session().polling(self.poll);
        let lock = lock.keepalive_interval(self.probe);
        lock.response_timeout(self.response_timeout())
    }

    fn response_timeout(&self) -> Duration {
        self.probe.max(SHORTEST_RESPONSE_TIMEOUT)
    }
}

/// What the terms of this process share.
struct Leader<'l> {
    lead: &'l Lead,
    reach: Reach,
    reaper: Reaper,
    state: Arc<watch::Sender<State>>,
    /// Notified if the lock is lost while the command runs.
    lost: Notify,
}

/// What has become of the command.
enum State {
    /// None runs: this machine does not lead, or has just been elected.
    Waits,
    /// It runs, and signals go here.
    Runs(mpsc::UnboundedSender<Signal>),
    /// It has ended, and decides how this process ends. Only the release of the lock is left.
    Ended,
    /// Its lock was lost, and it is being ended.
    Ends,
    /// Its lock was lost, it cannot be ended, and it goes on.
    GoesOn,
}

impl Leader<'_> {
    async fn lead(&self, server: &Server) -> Result<ExitCode, Failure> {
        let wanted = self.lead.target.read()?;
        let progress = Progress::new(self.lead.verbose);
        let find = async || {
            let pool = server.connect_to_primary(CONNECTIONS).await?;
            let lock = wanted.lock(&pool).await?;
            Ok((pool, self.lead.set(lock)))
        };
        loop {
            let (pool, lock) = connect(&find, Some(UNLIMITED), &progress).await?;
            // Also a failure of the command is a result: the next term would not change it.
            let ended = lock.lead(&pool, async |term| {
                Ok::<_, Failure>(self.serve(&lock, term).await)
            });
            tokio::select! {
                biased;
                ended = ended => return ended?.map(exit_code),
                () = self.has_no_server(&pool) => {}
            }
        }
    }

    /// Resolves if the server is away, or is no primary any more, while this machine does not lead.
    async fn has_no_server(&self, pool: &PgPool) {
        let is_in_office = || matches!(*self.state.borrow(), State::Runs(_) | State::Ended);
        let is_primary = async || {
            let mut conn = pool.acquire().await?;
            let state = sql::server_state(&mut conn).await?;
            Ok::<_, sqlx::Error>(!state.is_standby)
        };
        loop {
            sleep(LOOK_INTERVAL).await;
            if is_in_office() {
                continue;
            }
            let look = timeout(self.lead.response_timeout(), is_primary()).await;
            // It may have been elected meanwhile.
            if !matches!(look, Ok(Ok(true))) && !is_in_office() {
                return;
            }
        }
    }

    /// Runs the command for a term, after that of the last term has ended.
    async fn serve(&self, lock: &AdvisoryLock, term: Term) -> Result<ExitStatus, Failure> {
        self.until(|state| matches!(state, State::Waits)).await;
        let result = self.run_command(lock, term).await;
        self.state.send_replace(State::Ended);
        result
    }

    async fn run_command(&self, lock: &AdvisoryLock, term: Term) -> Result<ExitStatus, Failure> {
        let command = &self.lead.command;
        let variables = variables(lock.keys(), Some(term.number()));
        let child = Child::start(command, variables, self.reach, &self.reaper)
            .map_err(|error| exec_failure(&command[0], &error))?;
        print_message(format_args!("leads {lock}, term {}", term.number()));
        let (sender, mut signals) = mpsc::unbounded_channel();
        self.state.send_replace(State::Runs(sender));
        let mut running = Running {
            child: Some(child),
            leader: self,
        };
        let status = running.wait(&mut signals).await;
        status.map_err(|error| {
            Failure::other(format!("the exit code of the command is unknown: {error}"))
        })
    }

    async fn until(&self, is_reached: fn(&State) -> bool) {
        // This cannot fail: the sender is ours.
        let _ = self.state.subscribe().wait_for(is_reached).await;
    }

    /// Forwards signals while the command runs. Returns a signal that would end this process and
    /// arrives while the command does not run. If the lock is lost after a signal has asked the
    /// command to end, returns that signal. Ctrl-C counts, although the terminal sends it to the
    /// command.
    async fn forward(&self, signals: &mut Signals) -> Signal {
        let mut request = None;
        loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                () = self.lost.notified() => match request {
                    Some(signal) => return signal,
                    None => continue,
                },
            };
            match self.send(signal) {
                true if is_request_to_end(signal) => request = Some(signal),
                false if is_ending(signal) => return signal,
                _ => {}
            }
        }
    }

    /// Sends a signal to the command. Returns `false` if no command runs, or the lock of the one
    /// that runs was lost.
    fn send(&self, signal: Signal) -> bool {
        match &*self.state.borrow() {
            State::Runs(command) => command.send(signal).is_ok(),
            State::Ended => true,
            State::Waits | State::Ends | State::GoesOn => false,
        }
    }
}

/// The command of a term. Dropped, it is ended in the background.
struct Running<'l> {
    child: Option<Child>,
    leader: &'l Leader<'l>,
}

impl Running<'_> {
    async fn wait(
        &mut self,
        signals: &mut mpsc::UnboundedReceiver<Signal>,
    ) -> std::io::Result<ExitStatus> {
        let child = self.child.as_mut();
        let child = child.expect("BUG: a command used after its end");
        let status = child.forward_received(signals).await;
        self.child = None;
        status
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let state = Arc::clone(&self.leader.state);
        let grace = self.leader.lead.grace;
        print_message("the lock was lost; the command is ended");
        state.send_replace(State::Ends);
        self.leader.lost.notify_one();
        child.ask_to_end(grace);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let End::Refused(error) = child.end(&mut Signals::none(), grace).await {
                    print_message(format_args!(
                        "the command cannot be ended and goes on: {error}"
                    ));
                    state.send_replace(State::GoesOn);
                    child.all_ended(&mut Signals::none()).await;
                }
                state.send_replace(State::Waits);
            });
        }
    }
}
