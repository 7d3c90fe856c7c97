//! One instance of the fleet leads, and sweeps.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use sqlx::postgres::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use crate::config::Config;
use crate::end::End;
use crate::pool::Pools;
use crate::sweep::Sweeper;

/// An instance that would lead.
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
        // Polling: a wait in the server's queue, which may last for hours here, would hold a
        // snapshot all the time. Tagged, so that `advisory ls` has a name for it.
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

    /// Stands again and again, until the end.
    pub(crate) async fn stand(&self, end: &End) {
        loop {
            match self.lead(end).await {
                Err(error) if error.is_lost() => tracing::warn!("leadership was lost"),
                Err(error) => tracing::warn!(%error, "cannot lead"),
                Ok(()) => {}
            }
            // Longer than the others pause, so that they have their turn.
            if end.before(sleep(self.stand_every * 2)).await.is_none() {
                return;
            }
        }
    }

    /// A term of office: waits for it, sweeps until it is over or lost, gives it up.
    async fn lead(&self, end: &End) -> Result<(), Error> {
        // A wait may be dropped at any time: it leaves nothing behind.
        let Some(guard) = end.before(self.lock.acquire(&self.pool)).await else {
            return Ok(());
        };
        let mut guard = guard?;
        let fence = guard.fencing_token().await?;
        tracing::info!(fence, "leads");
        let swept = guard.until_lost(self.sweep(fence, end)).await?;
        guard.release().await?;
        tracing::info!(fence, "has given up leadership");
        swept
    }

    /// The end and the end of the term come between two sweeps, a loss of the lock in the middle of
    /// one.
    async fn sweep(&self, fence: i64, end: &End) -> Result<(), Error> {
        let over = Instant::now() + self.term;
        let mut ticks = interval(self.sweep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(Ok(_)) = end.before(timeout_at(over, ticks.tick())).await {
            if !self.sweeper.sweep(fence).await? {
                tracing::warn!(fence, "there is a newer leader");
                break;
            }
        }
        Ok(())
    }
}
