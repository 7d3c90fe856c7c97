//! Every acquire is a `tracing` span, which records the lock, the time of the wait and the outcome.
//!
//! `tracing-subscriber` writes a line when a span closes. The spans are at debug level, so a
//! program that does not enable that level does not pay for them. This example enables it for the
//! library only.
//!
//! The output shows an acquired lock, a shared lock, a lock that was not acquired in time, and a
//! warning about a transaction whose snapshot is older than its lock.
//!
//! ```text
//! cargo run --example spans
//! ```

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use sqlx::{Executor as _, PgPool};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Installs the subscriber. A service calls this at start-up.
fn install_subscriber() {
    let lines = fmt::layer()
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(Targets::new().with_target("advisory_core", LevelFilter::DEBUG));
    tracing_subscriber::registry().with(lines).init();
}

async fn sync(pool: &PgPool) -> Result<(), Error> {
    AdvisoryLock::new("sync(4)")
        .transaction(pool, async |_| Ok(()))
        .await
}

async fn report(pool: &PgPool) -> Result<(), Error> {
    let accounts = AdvisoryLock::all(["account:1", "account:2"]).shared();
    accounts.begin(pool).await?.commit().await?;
    Ok(())
}

/// Waits for a lock that this function holds itself, until the timeout.
async fn time_out(pool: &PgPool) -> Result<(), Error> {
    let lock = AdvisoryLock::new("nightly");
    let guard = lock.acquire(pool).await?;
    let wait = lock.timeout(Duration::from_millis(50));
    let refused = wait.begin(pool).await.map(drop);
    assert!(refused.is_err_and(|error| error.is_not_acquired()));
    guard.release().await
}

/// Acquires a lock in a transaction whose snapshot is older than the lock, so that its reads may be
/// stale.
async fn lock_with_stale_snapshot(pool: &PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    AdvisoryLock::new("stock").acquire_xact(&mut tx).await?;
    tx.rollback().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    install_subscriber();
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(2).await;
    sync(&pool).await?;
    report(&pool).await?;
    time_out(&pool).await?;
    lock_with_stale_snapshot(&pool).await
}
