//! Single faults that a sweep does not cover.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::{Cut, Database, Proxy, Side};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

/// How long a verb with a bound of a second and a half may take on a busy machine.
const BOUND: Duration = Duration::from_secs(30);

fn lock() -> AdvisoryLock {
    let lock = AdvisoryLock::new(1).response_timeout(Duration::from_secs(1));
    lock.timeout(Duration::from_millis(200))
}

async fn connect(proxy: &Proxy) -> PgConnection {
    PgConnection::connect_with(&proxy.options()).await.unwrap()
}

#[tokio::test]
async fn probe_at_the_first_lock_in_a_transaction_ends_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = connect(&proxy).await;
    let mut tx = conn.begin().await.unwrap();
    // The first message is the lock, which is granted.
    proxy.cut_after(Side::Client, 2, Cut::Silence);
    let outcome = timeout(BOUND, lock().acquire_xact(&mut tx)).await;
    let outcome = outcome.expect("it ends in time");
    assert!(matches!(outcome, Err(Error::Database(_))), "{outcome:?}");
}

#[advisory(key = lock())]
async fn fails(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = conn;
    Err(Error::Database(sqlx::Error::RowNotFound))
}

#[tokio::test]
async fn rollback_after_a_failed_body_ends_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut conn = connect(&proxy).await;
    // The first call probes the connection. The second call has the messages of all later ones.
    fails(&mut conn).await.unwrap_err();
    proxy.reset();
    fails(&mut conn).await.unwrap_err();
    let rollback = proxy.messages().len();
    proxy.cut_after(Side::Client, rollback, Cut::Silence);
    let outcome = timeout(BOUND, fails(&mut conn)).await;
    let outcome = outcome.expect("it ends in time").unwrap_err();
    assert!(matches!(outcome, Error::Database(sqlx::Error::RowNotFound)));
}

/// The caller must be able to tell a timeout from a lost connection: only after a timeout is the
/// transaction usable.
#[tokio::test]
async fn connection_lost_after_a_timeout_is_reported() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let proxy = Proxy::start(&database).await;
    let held = lock().begin(&rival).await.unwrap();
    for tries in [false, true] {
        let mut conn = connect(&proxy).await;
        let mut tx = conn.begin().await.unwrap();
        // The first message tries, the second waits, and the third rolls back to the savepoint.
        proxy.cut_after(Side::Client, 3, Cut::Fin);
        let outcome = if tries {
            lock().try_acquire_xact(&mut tx).await.map(drop)
        } else {
            lock().acquire_xact(&mut tx).await
        };
        assert!(proxy.has_cut());
        let outcome = outcome.unwrap_err();
        assert!(
            matches!(outcome, Error::Database(sqlx::Error::Io(_))),
            "{outcome}"
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

/// The rollback is sent only after the statement has been answered. It is given up a second later.
#[tokio::test]
async fn body_that_drops_a_statement_is_rolled_back_after_it() {
    let database = Database::new().await;
    let (pool, rival) = (database.pool(1).await, database.pool(1).await);
    let held = AdvisoryLock::new(2).begin(&rival).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    gives_up(&mut conn).await.unwrap_err();
    drop(conn);
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
