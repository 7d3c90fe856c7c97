//! What a leader does.

use std::time::Duration;

use advisory_core::Error;
use sqlx::postgres::PgPool;

use crate::config::Config;
use crate::pool::Pools;

/// Forgets old deliveries.
pub(crate) struct Sweeper {
    pool: PgPool,
    instance: String,
    keep: Duration,
}

impl Sweeper {
    pub(crate) fn new(config: &Config, pools: &Pools) -> Self {
        Self {
            pool: pools.leadership.clone(),
            instance: config.instance.clone(),
            keep: config.keep,
        }
    }

    /// Sweeps once; false if a newer leader has been here.
    ///
    /// It runs on another connection than the one that holds the lock, so it may outlive the lock
    /// for a moment. The fencing token tells such a late sweep from one that is right, and rolls it
    /// back.
    pub(crate) async fn sweep(&self, fence: i64) -> Result<bool, Error> {
        self.beat(fence).await?;
        let mut tx = self.pool.begin().await?;
        let leads = sqlx::query("UPDATE leadership SET fence = $1 WHERE fence <= $1");
        if leads.bind(fence).execute(&mut *tx).await?.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        let forget = sqlx::query(
            "DELETE FROM delivery WHERE received_at < now() - make_interval(secs => $1)",
        );
        let forgotten = forget
            .bind(self.keep.as_secs_f64())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        tracing::debug!(fence, forgotten = forgotten.rows_affected(), "has swept");
        Ok(true)
    }

    /// A log of who has led, and when: no two terms in it overlap.
    async fn beat(&self, fence: i64) -> Result<(), Error> {
        let beat = sqlx::query("INSERT INTO heartbeat (fence, instance) VALUES ($1, $2)");
        beat.bind(fence)
            .bind(&self.instance)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
