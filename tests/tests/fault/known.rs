//! What a sweep does not show.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::{Cut, Database, Proxy, Side};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

/// What a verb may take on a busy machine, whose bound is a second and a half.
const BOUND: Duration = Duration::from_secs(10);

fn lock() -> AdvisoryLock {
    let lock = AdvisoryLock::new(1).response_timeout(Duration::from_secs(1));
    lock.timeout(Duration::from_millis(200))
}

async fn connect(proxy: &Proxy) -> PgConnection {
    PgConnection::connect_with(&proxy.options()).await.unwrap()
}

#[tokio::test]
async fn the_look_at_a_first_lock_in_a_transaction_ends_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = connect(&proxy).await;
    let mut tx = conn.begin().await.unwrap();
    // The lock is the first message, and is granted.
    proxy.cut_after(Side::Client, 2, Cut::Silence);
    let told = timeout(BOUND, lock().acquire_xact(&mut tx)).await;
    let told = told.expect("an answer in time");
    assert!(matches!(told, Err(Error::Database(_))), "{told:?}");
}

#[advisory(key = lock())]
async fn fails(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = conn;
    Err(Error::Database(sqlx::Error::RowNotFound))
}

#[tokio::test]
async fn the_rollback_after_a_body_that_fails_ends_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = connect(&proxy).await;
    // What goes before it: nothing on the first connection, and no look on the next one.
    fails(&mut conn).await.unwrap_err();
    proxy.reset();
    fails(&mut conn).await.unwrap_err();
    let rollback = proxy.messages().len();
    proxy.cut_after(Side::Client, rollback, Cut::Silence);
    let told = timeout(BOUND, fails(&mut conn)).await;
    let told = told.expect("an answer in time").unwrap_err();
    assert!(matches!(told, Error::Database(sqlx::Error::RowNotFound)));
}

/// Whether the wait or the connection is at fault is not the same: after the one the transaction is usable.
#[tokio::test]
async fn a_connection_that_is_lost_after_a_timeout_is_told() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let proxy = Proxy::start(&database).await;
    let held = lock().begin(&rival).await.unwrap();
    for tries in [false, true] {
        let mut conn = connect(&proxy).await;
        let mut tx = conn.begin().await.unwrap();
        // The first asks, the second waits, and the third goes back to the savepoint.
        proxy.cut_after(Side::Client, 3, Cut::Fin);
        let told = if tries {
            lock().try_acquire_xact(&mut tx).await.map(drop)
        } else {
            lock().acquire_xact(&mut tx).await
        };
        assert!(proxy.has_cut());
        let told = told.unwrap_err();
        assert!(
            matches!(told, Error::Database(sqlx::Error::Io(_))),
            "{told}"
        );
    }
    held.rollback().await.unwrap();
}

#[advisory(key = lock())]
async fn gives_up(conn: &mut PgConnection) -> Result<(), Error> {
    let statement = conn.execute("SELECT pg_advisory_xact_lock(2)");
    let _ = timeout(Duration::from_millis(10), statement).await;
    Err(Error::Database(sqlx::Error::RowNotFound))
}

/// The rollback is not sent before the statement is answered, and a second later it is given up.
#[tokio::test]
async fn a_body_that_has_given_up_a_statement_is_rolled_back_after_it() {
    let database = Database::new().await;
    let (pool, rival) = (database.pool(1).await, database.pool(1).await);
    let held = AdvisoryLock::new(2).begin(&rival).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    gives_up(&mut conn).await.unwrap_err();
    drop(conn);
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
