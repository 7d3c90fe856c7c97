//! A webhook is delivered many times at once, and creates one row.
//!
//! GitHub reports a new pull request *at least* once. The handler checks whether the pull request
//! is known, and inserts a row if not. Deliveries that check at the same moment all find no row,
//! and all insert. There is no row yet that could be locked, so the handler takes an advisory lock
//! on the id: the deliveries of one pull request run one after the other.
//!
//! The output shows the unique violations without the lock, and none with it.
//!
//! ```text
//! cargo run --example webhook
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use advisory_core::advisory;
use advisory_tests::Database;
use futures_util::future::join_all;
use sqlx::{PgPool, PgTransaction};
use tokio::sync::Barrier;

const DELIVERIES: u32 = 8;

/// Handles one delivery at a time for each pull request. `tx` is the transaction that holds the
/// lock. If the body returns `Ok`, the transaction is committed, and the lock is released.
#[advisory(key = "github-pr:{id}", tx)]
pub(crate) async fn on_opened(
    pool: &PgPool,
    id: i64,
    title: impl Future<Output = String>,
) -> Result<bool, sqlx::Error> {
    create_if_new(tx, id, title).await
}

/// Handles a delivery without the lock.
pub(crate) async fn on_opened_unlocked(
    pool: &PgPool,
    id: i64,
    title: impl Future<Output = String>,
) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let created = create_if_new(&mut tx, id, title).await?;
    tx.commit().await?;
    Ok(created)
}

/// Checks whether the row exists, asks GitHub for the title, which takes a while, and inserts the
/// row.
async fn create_if_new(
    tx: &mut PgTransaction<'_>,
    id: i64,
    title: impl Future<Output = String>,
) -> Result<bool, sqlx::Error> {
    let known = sqlx::query("SELECT FROM pull_request WHERE id = $1").bind(id);
    if known.fetch_optional(&mut **tx).await?.is_some() {
        return Ok(false);
    }
    let create = sqlx::query("INSERT INTO pull_request (id, title) VALUES ($1, $2)");
    let create = create.bind(id).bind(title.await);
    create.execute(&mut **tx).await?;
    Ok(true)
}

/// Creates the table.
pub(crate) async fn set_up(pool: &PgPool) -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE pull_request (id bigint PRIMARY KEY, title text NOT NULL)";
    sqlx::query(table).execute(pool).await.map(drop)
}

/// Whether a handler failed because another one had inserted the row before.
pub(crate) fn is_unique_violation(result: &Result<bool, sqlx::Error>) -> bool {
    let error = result
        .as_ref()
        .err()
        .and_then(sqlx::Error::as_database_error);
    error.is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(DELIVERIES).await;
    set_up(&pool).await?;
    println!("{DELIVERIES} deliveries of one event, at once");

    // GitHub answers once all deliveries have checked, so no delivery finds the pull request.
    let all_checked = Barrier::new(DELIVERIES as usize);
    let title = || async {
        all_checked.wait().await;
        "Add a lock".to_owned()
    };
    let deliveries = (0..DELIVERIES).map(|_| on_opened_unlocked(&pool, 1, title()));
    let results = join_all(deliveries).await;
    let created = results.iter().filter(|r| matches!(r, Ok(true))).count();
    let violations = results.iter().filter(|r| is_unique_violation(r)).count();
    println!("without the lock: {created} row created, {violations} unique violations");
    assert_eq!((created, violations), (1, 7), "{results:?}");

    // GitHub answers once all other deliveries wait for the lock, so that as many deliveries
    // compete as before.
    let requests = AtomicUsize::new(0);
    let title = || async {
        requests.fetch_add(1, Ordering::Relaxed);
        database.wait_until_waiting(DELIVERIES as usize - 1).await;
        "Add a lock".to_owned()
    };
    let deliveries = (0..DELIVERIES).map(|_| on_opened(&pool, 2, title()));
    let results = join_all(deliveries).await;
    let created = results.iter().filter(|r| matches!(r, Ok(true))).count();
    let found = results.iter().filter(|r| matches!(r, Ok(false))).count();
    println!("with the lock:    {created} row created, {found} deliveries found it");
    assert_eq!((created, found), (1, 7), "{results:?}");
    assert_eq!(requests.into_inner(), 1, "GitHub is asked once");
    Ok(())
}
