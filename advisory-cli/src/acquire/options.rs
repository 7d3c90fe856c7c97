//! The options that `run` and `hold` share, and how they acquire the lock.

use std::mem::take;
use std::ops::ControlFlow::{self, Break, Continue};
use std::process::ExitCode;
use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard};
use clap::Args;
use tokio::time::{Instant, sleep, timeout};

use super::waiting::Progress;
use crate::duration;
use crate::exit::{Code, Failure};
use crate::server::Server;
use crate::target::Target;

/// One connection for the session that holds the lock, and one that looks up the holder if the lock
/// is not acquired.
pub(super) const CONNECTIONS: u32 = 2;

/// The server gets at least this long to answer a probe, because a busy server can take that long.
pub(super) const SHORTEST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An attempt to connect gets at least this long, whatever the timeout, because a busy server can
/// take that long.
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(3);

/// The pauses between the attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which lock to acquire, in which mode, and how long to wait for it.
#[derive(Args, Clone)]
pub(super) struct AcquireOptions {
    #[command(flatten)]
    target: Target,
    /// Give up after this time, in seconds or as `90s`, `5m`, `1h 30m`; 0 does not wait. If the
    /// server is starting or cannot be reached, the connection is tried again until then; one
    /// attempt may take 3 seconds, even if the time is shorter. If not given, wait for the lock
    /// without a limit, whatever the server's `lock_timeout` is, and not for the server.
    #[arg(long, short = 'w', alias = "wait", value_name = "TIME", value_parser = duration::parse_timeout, allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Do not wait: the same as `--timeout 0`.
    #[arg(long, short = 'n', aliases = ["nonblock", "nb"], conflicts_with = "timeout")]
    no_wait: bool,
    /// Acquire the lock in shared mode.
    #[arg(long, short)]
    shared: bool,
    /// Let this many hold the lock at once, from 1 to 1000. The others wait in the order in which
    /// they came, and those that do not wait are refused while others do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), default_value_t = 1, conflicts_with = "shared")]
    permits: u32,
    /// The exit code if the lock is not acquired.
    #[arg(long, short = 'E', value_name = "CODE", default_value_t = Code::NotAcquired as u8)]
    conflict_exit_code: u8,
    /// Say on standard error what is waited for, and for how long, if it takes more than a second;
    /// and why the command is skipped, with `--skip` or `--every`. On a terminal, this is the
    /// default.
    #[arg(long, short)]
    verbose: bool,
    /// How often to check that the server answers. A network that has gone silent is noticed after
    /// at most twice this time, or after this time and one second if that is more.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_interval, default_value = "5", allow_negative_numbers = true)]
    probe: Duration,
}

impl AcquireOptions {
    /// Acquires the lock. Breaks with an exit code if the lock is not acquired, or if `end` comes
    /// first. With `skip`, a lock that is not acquired is a success, and is not waited for unless a
    /// timeout is given.
    pub(super) async fn acquire(
        &self,
        server: &Server,
        skip: bool,
        end: impl Future<Output = Result<ExitCode, Failure>>,
    ) -> Result<ControlFlow<ExitCode, SessionGuard>, Failure> {
        let acquired = tokio::select! {
            // Dropping the wait closes its connection, which leaves the queue.
            code = end => code.map(Break),
            acquired = self.wait(server, skip) => acquired.map(Continue),
        };
        match acquired {
            Err(failure) if failure.code() == Code::NotAcquired && skip => {
                self.progress().print(format_args!("skipped: {failure}"));
                Ok(Break(ExitCode::SUCCESS))
            }
            Err(failure) if failure.code() == Code::NotAcquired => {
                failure.report();
                Ok(Break(self.conflict_exit_code.into()))
            }
            acquired => acquired,
        }
    }

    async fn wait(&self, server: &Server, skip: bool) -> Result<SessionGuard, Failure> {
        let limit = self
            .timeout
            .or((self.no_wait || skip).then_some(Duration::ZERO));
        let progress = self.progress();
        let wanted = self.target.read()?;
        if let Some(hint) = wanted.hint() {
            progress.print(hint);
        }
        let started = Instant::now();
        let pool = async || server.connect(CONNECTIONS).await;
        let pool = connect(pool, limit, &progress).await?;
        let lock = self.set(wanted.lock(&pool).await?);
        let lock = match limit {
            Some(limit) => lock.timeout(limit.saturating_sub(started.elapsed())),
            None => lock.wait_forever(),
        };
        let acquire = lock.acquire(&pool);
        Ok(progress.of_wait(lock.id(), &pool, acquire).await?)
    }

    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.verbose)
    }

    fn set(&self, lock: AdvisoryLock) -> AdvisoryLock {
        let lock = lock.tag_session().keepalive_interval(self.probe);
        let lock = lock.response_timeout(self.probe.max(SHORTEST_RESPONSE_TIMEOUT));
        let lock = lock.permits(self.permits);
        if self.shared { lock.shared() } else { lock }
    }
}

/// Connects to the server. Within the limit, a server that cannot be reached is tried again.
pub(super) async fn connect<T>(
    once: impl AsyncFn() -> Result<T, Failure>,
    limit: Option<Duration>,
    progress: &Progress,
) -> Result<T, Failure> {
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return once().await;
    };
    let started = Instant::now();
    let deadline = started + limit;
    let mut pause = FIRST_PAUSE;
    let mut is_first = true;
    loop {
        let rest = deadline.duration_since(Instant::now());
        let limit = rest.max(SHORTEST_ATTEMPT);
        let connected = timeout(limit, once()).await;
        let failure = match connected.unwrap_or_else(|_| Err(no_answer(limit))) {
            Err(failure) if failure.is_transient() && Instant::now() < deadline => failure,
            done => {
                if done.is_ok() && !is_first {
                    let time = duration::age(started.elapsed());
                    progress.print(format_args!("the server answers after {time}"));
                }
                return done;
            }
        };
        if take(&mut is_first) {
            progress.print(format_args!("waiting for the server: {failure}"));
        }
        sleep(pause.min(deadline.duration_since(Instant::now()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn no_answer(limit: Duration) -> Failure {
    let limit = duration::age(limit);
    let message = format!("the server does not answer within {limit}");
    Failure::new(Code::Unreachable, message)
}
