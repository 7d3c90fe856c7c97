//! `advisory lead`: a command that runs on exactly one machine.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Term};
use clap::Args;
use nix::sys::signal::Signal;
use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::child::{Child, Reach, variables};
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
/// again. While the server cannot be reached it tries again, without a limit. Of several hosts in
/// the connection string, it finds the new primary after a failover; it skips standbys, unless
/// `target_session_attrs` is given. An error that does not pass by itself, such as a refused login,
/// ends it.
///
/// The environment variable `ADVISORY_FENCE` is a number that is greater with every start, on any
/// machine: another system that remembers the greatest number can refuse the work of a leader that
/// has lost its lock and does not know it yet. `PG_ADVISORY_KEY` is the key that is held.
///
/// Signals are forwarded to the command as by `run`, so that SIGTERM ends the command first, and
/// gives up the lock then. If the lock is lost after SIGTERM, SIGINT or SIGQUIT was forwarded, the
/// command is not started again. While `lead` waits, a signal ends it.
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
            signals: Mutex::default(),
            lost: Notify::new(),
            is_in_office: AtomicBool::new(false),
            one_at_a_time: Arc::new(Semaphore::new(1)),
        };
        signals.catch_also(leader.reach.signals())?;
        let result = tokio::select! {
            code = leader.lead(server) => code,
            signal = leader.forward(&mut signals) => Ok(signal_code(signal as i32)),
        };
        // A command of a term that was lost may still be ending.
        let _ended = leader.one_at_a_time.acquire().await;
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
    /// Where signals go while the command runs.
    signals: Mutex<Option<mpsc::UnboundedSender<Signal>>>,
    /// Notified if the lock is lost while the command runs.
    lost: Notify,
    is_in_office: AtomicBool,
    /// The command of one term has ended before that of the next one starts.
    one_at_a_time: Arc<Semaphore>,
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
            let status = lock.lead(&pool, async |term| self.serve(&lock, term).await);
            tokio::select! {
                biased;
                status = status => return status.map(exit_code),
                () = self.has_no_server(&pool) => {}
            }
        }
    }

    /// Resolves if the server is away, or is no primary any more, while this machine does not lead.
    async fn has_no_server(&self, pool: &PgPool) {
        let is_in_office = || self.is_in_office.load(Ordering::SeqCst);
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

    /// Runs the command for a term.
    async fn serve(&self, lock: &AdvisoryLock, term: Term) -> Result<ExitStatus, Failure> {
        let _office = Office::enter(&self.is_in_office);
        let permit = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let permit = permit.map_err(Failure::other)?;
        let command = &self.lead.command;
        let variables = variables(lock.keys(), Some(term.number()));
        let child = Child::start(command, variables, self.reach, &self.reaper)
            .map_err(|error| exec_failure(&command[0], &error))?;
        print_message(format_args!("leads {lock}, term {}", term.number()));
        let (sender, mut signals) = mpsc::unbounded_channel();
        *self.signals.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let mut running = Running {
            child: Some((child, permit)),
            grace: self.lead.grace,
            lost: &self.lost,
        };
        let status = running.wait(&mut signals).await;
        status.map_err(|error| {
            Failure::other(format!("the exit code of the command is unknown: {error}"))
        })
    }

    /// Forwards signals while the command runs. Returns a signal that would end this process and
    /// arrives while the command does not run. If the lock is lost after a signal has asked the
    /// command to end, returns that signal.
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

    /// Sends a signal to the command. Returns `false` if none runs.
    fn send(&self, signal: Signal) -> bool {
        let sender = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        sender
            .as_ref()
            .is_some_and(|command| command.send(signal).is_ok())
    }
}

/// The term ends when this is dropped.
struct Office<'l>(&'l AtomicBool);

impl<'l> Office<'l> {
    fn enter(is_in_office: &'l AtomicBool) -> Self {
        is_in_office.store(true, Ordering::SeqCst);
        Self(is_in_office)
    }
}

impl Drop for Office<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// The command of a term. Dropped, it is ended in the background.
struct Running<'l> {
    child: Option<(Child, OwnedSemaphorePermit)>,
    grace: Duration,
    lost: &'l Notify,
}

impl Running<'_> {
    async fn wait(
        &mut self,
        signals: &mut mpsc::UnboundedReceiver<Signal>,
    ) -> std::io::Result<ExitStatus> {
        let (child, _) = self
            .child
            .as_mut()
            .expect("BUG: a command used after its end");
        let status = child.forward_received(signals).await;
        self.child = None;
        status
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (Some((mut child, permit)), grace) = (self.child.take(), self.grace) else {
            return;
        };
        print_message("the lock was lost; the command is ended");
        self.lost.notify_one();
        child.ask_to_end(grace);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                child.end(&mut Signals::none(), grace).await;
                drop(permit);
            });
        }
    }
}
