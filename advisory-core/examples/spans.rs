//! Every acquire is a `tracing` span, which says what was locked, how long that took and how it
//! ended.
//!
//! `tracing-subscriber` writes a line when a span closes. The spans are at debug level, so that
//! nobody pays for them who has not asked; here only the library is listened to.
//!
//! You will see a lock that is taken, one that is shared, one that was not to be had, and a trap
//! that is a warning.
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

/// Where a service would call it first of all.
fn listen() {
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

/// Waits in vain for a lock that this very function holds.
async fn wait_in_vain(pool: &PgPool) -> Result<(), Error> {
    let lock = AdvisoryLock::new("nightly");
    let guard = lock.acquire(pool).await?;
    let wait = lock.timeout(Duration::from_millis(50));
    let refused = wait.begin(pool).await.map(drop);
    assert!(refused.is_err_and(|error| error.is_not_acquired()));
    guard.release().await
}

/// The transaction's snapshot is from before the lock.
async fn read_what_was(pool: &PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    AdvisoryLock::new("stock").acquire_xact(&mut tx).await?;
    tx.rollback().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    listen();
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(2).await;
    sync(&pool).await?;
    report(&pool).await?;
    wait_in_vain(&pool).await?;
    read_what_was(&pool).await
}
