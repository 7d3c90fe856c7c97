//! A job that runs once per period: counts the deliveries of the last day.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, PeriodicLock};
use sqlx::PgTransaction;
use sqlx::postgres::PgPool;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::pool::Pools;

/// The report, which every instance starts and one instance writes.
pub(crate) struct Reporter {
    pool: PgPool,
    instance: String,
    job: PeriodicLock,
    try_every: Duration,
}

impl Reporter {
    pub(crate) fn new(config: &Config, pools: &Pools) -> Self {
        Self {
            pool: pools.work.clone(),
            instance: config.instance.clone(),
            job: AdvisoryLock::new("service:report").every(config.report_every),
            // Several times in each period, so that a failed report is tried again.
            try_every: (config.report_every / 4).max(Duration::from_millis(1)),
        }
    }

    /// Tries to write the report of each period. It never ends.
    pub(crate) async fn run(&self) {
        let mut ticks = interval(self.try_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let written = self
                .job
                .try_transaction(&self.pool, async |tx| self.write(tx).await);
            match written.await {
                Ok(Some(())) => tracing::info!("wrote the report"),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the report has failed"),
            }
        }
    }

    /// The row commits together with the mark of the period.
    async fn write(&self, tx: &mut PgTransaction<'_>) -> Result<(), Error> {
        let insert = sqlx::query(
            "INSERT INTO report (instance, deliveries) SELECT $1, count(*) FROM delivery \
             WHERE received_at > now() - interval '1 day'",
        );
        insert.bind(&self.instance).execute(&mut **tx).await?;
        Ok(())
    }
}
