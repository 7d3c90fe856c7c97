//! The work of the leader.

use std::time::Duration;

use advisory_core::Error;
use sqlx::postgres::PgPool;

use crate::config::Config;
use crate::pool::Pools;

/// Deletes old deliveries.
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

    /// Sweeps once. Returns `false` if a newer leader has swept before.
    ///
    /// The sweep runs on another connection than the one that holds the lock, so the sweep may
    /// briefly outlive the lock. A late sweep then has an older fencing token than the new leader,
    /// and is rolled back.
    pub(crate) async fn sweep(&self, fence: i64) -> Result<bool, Error> {
        self.record_heartbeat(fence).await?;
        let mut tx = self.pool.begin().await?;
        let leads = sqlx::query("UPDATE leadership SET fence = $1 WHERE fence <= $1");
        if leads.bind(fence).execute(&mut *tx).await?.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        let delete = sqlx::query(
            "DELETE FROM delivery WHERE received_at < now() - make_interval(secs => $1)",
        );
        let deleted = delete
            .bind(self.keep.as_secs_f64())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        tracing::debug!(fence, deleted = deleted.rows_affected(), "swept");
        Ok(true)
    }

    /// Records that this instance leads at this time. The terms in the table do not overlap.
    async fn record_heartbeat(&self, fence: i64) -> Result<(), Error> {
        let insert = sqlx::query("INSERT INTO heartbeat (fence, instance) VALUES ($1, $2)");
        insert
            .bind(fence)
            .bind(&self.instance)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
