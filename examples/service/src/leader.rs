//! Leader election: one instance of the fleet is the leader, and sweeps.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Term};
use sqlx::postgres::PgPool;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::Config;
use crate::pool::Pools;
use crate::shutdown::Shutdown;
use crate::sweep::Sweeper;

/// An instance that stands for election.
pub(crate) struct Candidate {
    pool: PgPool,
    lock: AdvisoryLock,
    sweeper: Sweeper,
    sweep_every: Duration,
    term: Duration,
}

impl Candidate {
    pub(crate) fn new(config: &Config, pools: &Pools) -> Self {
        // Tags the session, so that `advisory ls` shows the lock's name.
        let lock = AdvisoryLock::new("service:leader")
            .polling(config.stand_every)
            .tag_session();
        Self {
            pool: pools.leadership.clone(),
            lock,
            sweeper: Sweeper::new(config, pools),
            sweep_every: config.sweep_every.max(Duration::from_millis(1)),
            term: config.term,
        }
    }

    /// Leads whenever no other instance does, until shutdown is requested. A sweep in progress is
    /// then dropped and rolled back, and the lock is released.
    pub(crate) async fn run(&self, shutdown: &Shutdown) {
        let leads = self
            .lock
            .lead(&self.pool, async |term| self.serve(&term).await);
        if let Some(Err(error)) = shutdown.run_until_requested(leads).await {
            tracing::error!(%error, "cannot lead any more");
        }
    }

    /// Sweeps for a term, and then lets another instance lead.
    async fn serve(&self, term: &Term) -> Result<(), Error> {
        tracing::info!(term = term.number(), "became the leader");
        // Its end takes effect between two sweeps or in the middle of one.
        let _ = timeout(self.term, self.sweep(term)).await;
        term.resign();
        Ok(())
    }

    /// Sweeps until there is a newer leader. A sweep that fails does not end the term.
    async fn sweep(&self, term: &Term) {
        let mut ticks = interval(self.sweep_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.sweeper.sweep(term.number()).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(term = term.number(), "there is a newer leader");
                    return;
                }
                Err(error) => tracing::warn!(%error, "a sweep has failed"),
            }
        }
    }
}
