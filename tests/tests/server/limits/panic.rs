//! A panic in the body.

use std::panic::AssertUnwindSafe;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::{Database, WRITE, written};
use advisory_verbs::{Access, Held, Verb};
use futures_util::FutureExt as _;
use sqlx::{Connection as _, Executor as _, PgConnection, PgTransaction};
use tokio::task::yield_now;

/// The message of the panic that a future ends with.
async fn panic_of<T>(future: impl Future<Output = T>) -> &'static str {
    let panic = AssertUnwindSafe(future).catch_unwind().await.err();
    *panic.expect("a panic").downcast().expect("a message")
}

async fn panics() {
    yield_now().await;
    panic!("in the body");
}

async fn write_and_panic(held: Held<'_>) -> Result<(), Error> {
    if let Some(conn) = held {
        conn.execute(WRITE).await?;
    }
    panics().await;
    Ok(())
}

#[tokio::test]
async fn panic_reaches_the_caller_of_every_verb_and_leaves_nothing() {
    let (database, pool) = Database::with_table(2).await;
    let lock = AdvisoryLock::new("one");
    let mut rows = 0;
    for verb in Verb::ALL {
        let running = verb.run(&lock, &pool, |held| Box::pin(write_and_panic(held)));
        let message = panic_of(running).await;
        assert_eq!(message, "in the body", "{verb}");
        database.assert_nothing_leaked(&pool).await;
        // Outside a transaction, the row was committed before the panic.
        rows += i64::from(verb.access() == Access::Inside && !verb.is_in_transaction());
        assert_eq!(written(&pool).await, rows, "{verb}");
        assert!(verb.ask(&lock, &pool).await.unwrap(), "{verb}");
    }
}

/// Before the first await, and while a statement runs.
#[tokio::test]
async fn panic_at_any_moment_leaves_nothing() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("one");
    let at_once = async |_: &mut PgTransaction<'_>| -> Result<(), Error> { panic!("at once") };
    let message = panic_of(lock.transaction(&pool, at_once)).await;
    assert_eq!(message, "at once");
    database.assert_nothing_leaked(&pool).await;

    let in_a_statement = async |tx: &mut PgTransaction<'_>| -> Result<(), Error> {
        let sleeps = database.wait_until_asleep();
        tokio::select! {
            _ = tx.execute("SELECT pg_sleep(600)") => Ok(()),
            () = sleeps => panic!("in a statement"),
        }
    };
    let message = panic_of(lock.transaction(&pool, in_a_statement)).await;
    assert_eq!(message, "in a statement");
    database.assert_nothing_leaked(&pool).await;
}

/// A guard outlives the body that runs under it.
#[tokio::test]
async fn guard_is_held_after_a_panic() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    for _ in 0..2 {
        assert_eq!(panic_of(guard.until_lost(panics())).await, "in the body");
        assert!(!guard.is_lost());
        assert_eq!(database.advisory_locks().await.len(), 1);
    }
    let conn = guard.connection().await.unwrap();
    conn.execute("SELECT 1").await.unwrap();
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = "one")]
async fn joins(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    tx.execute(WRITE).await?;
    panic!("in the transaction")
}

#[advisory(key = "one")]
async fn opens(conn: &mut PgConnection) -> Result<(), Error> {
    conn.execute(WRITE).await?;
    panic!("on the connection")
}

/// The caller's transaction is left as it is, and a transaction that the attribute has opened on
/// the caller's connection is rolled back.
#[tokio::test]
async fn callers_connection_is_usable_after_a_panic() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    conn.execute("CREATE TABLE written (n int)").await.unwrap();

    let mut tx = conn.begin().await.unwrap();
    assert_eq!(panic_of(joins(&mut tx)).await, "in the transaction");
    assert_eq!(database.advisory_locks().await.len(), 1);
    tx.commit().await.unwrap();
    assert!(database.advisory_locks().await.is_empty());

    assert_eq!(panic_of(opens(&mut conn)).await, "on the connection");
    database.wait_until_held(0).await;
    assert!(!conn.is_in_transaction());
    assert_eq!(written(&mut conn).await, 1, "the caller's row alone");
}
