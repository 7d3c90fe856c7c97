//! Taking the lock of `run` and `hold`.

use std::ops::ControlFlow::{self, Break, Continue};
use std::process::ExitCode;
use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard};
use clap::Args;

use crate::exit::{Failure, death};
use crate::seconds;
use crate::server::Server;
use crate::signal::Signals;
use crate::target::Target;

/// The session that holds the lock, and one that finds out who holds it instead.
const CONNECTIONS: u32 = 2;

/// Which lock, how it is held, and how long it is waited for.
#[derive(Args, Clone)]
pub(crate) struct Acquisition {
    #[command(flatten)]
    target: Target,
    /// Give up after this long; 0 does not wait. If not given, wait for as long as it takes, whatever the server's `lock_timeout`.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::timeout, allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Give up at once: `--timeout 0`.
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// End with 0 and without a word if the lock is not to be had. Does not wait, unless `--timeout` says so.
    #[arg(long)]
    skip: bool,
    /// Share the lock with others who share it.
    #[arg(long)]
    shared: bool,
    /// How often the server is asked for a sign of life. A network that has gone silent is noticed after this time and as long again,
    /// or a second if that is more.
    #[arg(long, value_name = "SECONDS", value_parser = seconds::interval, default_value = "5", allow_negative_numbers = true)]
    probe: Duration,
}

impl Acquisition {
    /// Takes the lock; or how to end without it, because it is to be skipped or a signal has come.
    pub(crate) async fn acquire(
        &self,
        server: &Server,
        signals: &mut Signals,
    ) -> Result<ControlFlow<ExitCode, SessionGuard>, Failure> {
        tokio::select! {
            // Dropped half-way, the wait leaves the queue with its connection.
            signal = signals.next() => Ok(Break(death(signal as i32))),
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
        let lock = self.target.lock()?.probing(self.probe).tag_session();
        let lock = match (self.timeout, self.no_wait || self.skip) {
            (Some(timeout), _) => lock.timeout(timeout),
            (None, true) => lock.timeout(Duration::ZERO),
            (None, false) => lock.wait_forever(),
        };
        Ok(if self.shared { lock.shared() } else { lock })
    }
}
