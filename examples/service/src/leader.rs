//! Leader election: one instance of the fleet is the leader, and sweeps.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use sqlx::postgres::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use crate::config::Config;
use crate::pool::Pools;
use crate::shutdown::Shutdown;
use crate::sweep::Sweeper;

/// An instance that tries to become the leader.
pub(crate) struct Candidate {
    pool: PgPool,
    lock: AdvisoryLock,
    sweeper: Sweeper,
    stand_every: Duration,
    sweep_every: Duration,
    term: Duration,
}

impl Candidate {
    pub(crate) fn new(config: &Config, pools: &Pools) -> Self {
        // Polls, because a wait in the server's queue may last for hours here, and would hold a
        // snapshot all that time. Tags the session, so that `advisory ls` shows the lock's name.
        let lock = AdvisoryLock::new("service:leader")
            .polling(config.stand_every)
            .wait_forever()
            .tag_session();
        Self {
            pool: pools.leadership.clone(),
            lock,
            sweeper: Sweeper::new(config, pools),
            stand_every: config.stand_every,
            sweep_every: config.sweep_every.max(Duration::from_millis(1)),
            term: config.term,
        }
    }

    /// Tries to become the leader, again after each term, until shutdown is requested.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        loop {
            match self.lead(shutdown).await {
                Err(error) if error.is_lost() => tracing::warn!("leadership was lost"),
                Err(error) => tracing::warn!(%error, "failed to lead"),
                Ok(()) => {}
            }
            // Longer than the polling interval of the other instances, so that one of them leads
            // next.
            if shutdown
                .run_until_requested(sleep(self.stand_every * 2))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// Leads for a term: waits for the lock, sweeps until the term ends or the lock is lost, and
    /// releases the lock.
    async fn lead(&self, shutdown: &Shutdown) -> Result<(), Error> {
        // The wait may be dropped at any time, and then holds neither a lock nor a connection.
        let Some(guard) = shutdown
            .run_until_requested(self.lock.acquire(&self.pool))
            .await
        else {
            return Ok(());
        };
        let mut guard = guard?;
        let fence = guard.fencing_token().await?;
        tracing::info!(fence, "became the leader");
        let swept = guard.until_lost(self.sweep(fence, shutdown)).await?;
        guard.release().await?;
        tracing::info!(fence, "released leadership");
        swept
    }

    /// Sweeps until shutdown is requested or the term ends. Both take effect between two sweeps,
    /// while the loss of the lock drops a sweep in progress.
    async fn sweep(&self, fence: i64, shutdown: &Shutdown) -> Result<(), Error> {
        let term_end = Instant::now() + self.term;
        let mut ticks = interval(self.sweep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(Ok(_)) = shutdown
            .run_until_requested(timeout_at(term_end, ticks.tick()))
            .await
        {
            if !self.sweeper.sweep(fence).await? {
                tracing::warn!(fence, "there is a newer leader");
                break;
            }
        }
        Ok(())
    }
}
