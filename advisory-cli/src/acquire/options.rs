//! The options that `run` and `hold` share, and how they acquire the lock.

use std::ops::ControlFlow::{self, Break, Continue};
use std::process::ExitCode;
use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard};
use clap::Args;

use super::signals::Signals;
use crate::duration;
use crate::exit::{Failure, signal_code};
use crate::server::Server;
use crate::target::Target;

/// One connection for the session that holds the lock, and one that looks up the holder if the lock
/// is not acquired.
const CONNECTIONS: u32 = 2;

/// The server gets at least this long to answer a probe, because a busy server can take that long.
const SHORTEST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which lock to acquire, in which mode, and how long to wait for it.
#[derive(Args, Clone)]
pub(super) struct AcquireOptions {
    #[command(flatten)]
    target: Target,
    /// Give up after this time; 0 does not wait. If not given, wait without a limit, whatever the
    /// server's `lock_timeout` is.
    #[arg(long, value_name = "SECONDS", value_parser = duration::parse_timeout, allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Do not wait: the same as `--timeout 0`.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// Exit with 0 and print nothing if the lock is not acquired. Does not wait, unless `--timeout`
    /// is given.
    #[arg(long)]
    skip: bool,
    /// Acquire the lock in shared mode.
    #[arg(long)]
    shared: bool,
    /// Let this many hold the lock at once instead of one, from 1 to 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "shared")]
    permits: Option<u32>,
    /// How often to check that the server answers. A network that has gone silent is noticed after
    /// at most twice this time, or after this time and one second if that is more.
    #[arg(long, value_name = "SECONDS", value_parser = duration::parse_interval, default_value = "5", allow_negative_numbers = true)]
    probe: Duration,
}

impl AcquireOptions {
    /// Acquires the lock. Breaks with an exit code if the lock is skipped or a signal ends the
    /// wait.
    pub(super) async fn acquire(
        &self,
        server: &Server,
        signals: &mut Signals,
    ) -> Result<ControlFlow<ExitCode, SessionGuard>, Failure> {
        tokio::select! {
            // Dropping the wait closes its connection, which leaves the queue.
            signal = signals.next() => Ok(Break(signal_code(signal as i32))),
            acquired = self.wait(server) => Ok(match acquired? {
                Some(guard) => Continue(guard),
                None => Break(ExitCode::SUCCESS),
            }),
        }
    }

    async fn wait(&self, server: &Server) -> Result<Option<SessionGuard>, Failure> {
        let lock = self.lock()?;
        let pool = server.connect(CONNECTIONS).await?;
        if self.skip {
            return Ok(lock.try_acquire(&pool).await?);
        }
        Ok(Some(lock.acquire(&pool).await?))
    }

    fn lock(&self) -> Result<AdvisoryLock, Failure> {
        let lock = self.target.lock()?.tag_session();
        let lock = lock.keepalive_interval(self.probe);
        let lock = lock.permits(self.permits.unwrap_or(1));
        let lock = lock.response_timeout(self.probe.max(SHORTEST_RESPONSE_TIMEOUT));
        let lock = match (self.timeout, self.no_wait || self.skip) {
            (Some(timeout), _) => lock.timeout(timeout),
            (None, true) => lock.timeout(Duration::ZERO),
            (None, false) => lock.wait_forever(),
        };
        Ok(if self.shared { lock.shared() } else { lock })
    }
}
