//! A job of tokio-cron-scheduler's that runs once in the fleet.

use advisory_core::{Error, advisory};
use sqlx::PgPool;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Every instance schedules the job.
pub async fn schedule(pool: PgPool, cron: &str) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let job = Job::new_async(cron, move |_id, _scheduler| {
        let pool = pool.clone();
        Box::pin(async move {
            if let Err(error) = report(&pool).await {
                tracing::error!(%error, "the daily report has failed");
            }
        })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

/// Returns whether this instance has made the report.
#[advisory(key = "daily report", timeout = 0, side_effect = Skip, tx)]
pub async fn report(pool: &PgPool) -> Result<Option<()>, Error> {
    // By the server's clock, because those of the instances differ.
    let mark = "INSERT INTO report (day) VALUES (current_date) ON CONFLICT DO NOTHING";
    if sqlx::query(mark).execute(&mut **tx).await?.rows_affected() == 0 {
        return Ok(None);
    }
    let fill =
        "UPDATE report SET orders = (SELECT count(*) FROM shop_order) WHERE day = current_date";
    sqlx::query(fill).execute(&mut **tx).await?;
    Ok(Some(()))
}
