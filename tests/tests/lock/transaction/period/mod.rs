//! `every`: a job runs at most once in each period of the server's clock.

mod attribute;
mod crash;
mod session;
mod table;
mod transaction;

use std::time::Duration;

use advisory_core::{AdvisoryLock, PeriodicLock, Periods};
use advisory_tests::{Database, scalar};
use sqlx::PgPool;

/// Longer than any test takes: every moment of a test is in one of at most two such periods.
const LONG: Duration = Duration::from_hours(24 * 365);

async fn database() -> (Database, PgPool) {
    let (database, pool) = Database::with_pool(5).await;
    Periods::create(&pool).await.unwrap();
    (database, pool)
}

fn job() -> PeriodicLock {
    AdvisoryLock::new("job").every(LONG)
}

/// Makes the last period one that is over.
async fn next_period(pool: &PgPool) {
    let earlier = "UPDATE advisory_period SET period = period - interval '10 years', \
         attempt = attempt - interval '10 years'";
    sqlx::query(earlier).execute(pool).await.unwrap();
}

async fn marks(pool: &PgPool) -> i64 {
    scalar(
        pool,
        "SELECT count(*) FROM advisory_period WHERE period > '-infinity'",
    )
    .await
}
