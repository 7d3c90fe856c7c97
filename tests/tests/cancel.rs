//! Waits on the caller's transaction that are dropped, and what is said about locks.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, advisory};
use advisory_tests::Database;
use futures_util::future::{Either, select};
use sqlx::{Connection as _, Executor as _, PgPool, PgTransaction};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Drops a wait once it is in the queue.
async fn drop_when_waiting(database: &Database, wait: impl Future) {
    let waits = pin!(database.wait_until_waiting(1));
    assert!(matches!(select(pin!(wait), waits).await, Either::Right(_)));
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    for lock in [
        AdvisoryLock::new("one"),
        AdvisoryLock::all([Key::from(1), Key::from(2)]),
    ] {
        for lock in [lock.clone(), lock.timeout(Duration::from_mins(1))] {
            let held = lock.begin(&pool).await.unwrap();
            let lock = lock.cancel_via(&pool);
            // Both of the pool's connections are taken: the cancel comes from beside it.
            let mut tx = pool.begin().await.unwrap();
            drop_when_waiting(&database, lock.acquire_xact(&mut tx)).await;
            database.wait_until_waiting(0).await;
            // The transaction is aborted, and can be rolled back.
            assert!(tx.execute("SELECT 1").await.is_err());
            tx.rollback().await.unwrap();
            held.rollback().await.unwrap();
            database.assert_nothing_leaked(&pool).await;
        }
    }
}

#[advisory(key = "one", cancel_via = pool)]
async fn joins(tx: &mut PgTransaction<'_>, pool: &Pool) -> Result<(), Error> {
    tx.execute("SELECT 1").await?;
    Ok(())
}

/// Under another name it is not mistaken for what to lock on.
type Pool = PgPool;

#[tokio::test]
async fn the_attribute_cancels_too() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    drop_when_waiting(&database, joins(&mut tx, &pool)).await;
    database.wait_until_waiting(0).await;
    drop(tx);
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn only_the_dropped_wait_is_cancelled() {
    let database = Database::new().await;
    let pool = database.pool(4).await;
    let lock = AdvisoryLock::new("one").cancel_via(&pool);
    let held = lock.begin(&pool).await.unwrap();
    let (mut one, mut two) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    let (kept, ()) = tokio::join!(lock.acquire_xact(&mut two), async {
        database.wait_until_waiting(1).await;
        {
            let both = pin!(database.wait_until_waiting(2));
            assert!(matches!(
                select(pin!(lock.acquire_xact(&mut one)), both).await,
                Either::Right(_)
            ));
        }
        database.wait_until_waiting(1).await;
        assert!(one.execute("SELECT 1").await.is_err());
        held.rollback().await.unwrap();
    });
    kept.unwrap();
    two.commit().await.unwrap();
    one.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// Writes down what is said, at `WARN` and above, and every span's fields.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("advisory_core")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Writer(&self.0));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Writer(&self.0));
    }
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Writer(&self.0));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Writer<'n>(&'n Mutex<String>);

impl Visit for Writer<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Notes {
    /// What was said since the last time.
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn every_acquire_is_a_span_and_every_trap_a_warning() {
    let notes = Notes::default();
    let _listening = tracing::subscriber::set_default(notes.clone());
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let lock = AdvisoryLock::new("one");

    let tx = lock.begin(&pool).await.unwrap();
    let said = notes.take();
    for field in [
        "lock.name=\"one\"",
        "lock.scope=\"xact\"",
        "lock.mode=\"exclusive\"",
        "lock.outcome=\"acquired\"",
    ] {
        assert!(said.contains(field), "{field} in {said}");
    }
    assert!(
        lock.clone()
            .shared()
            .try_acquire(&pool)
            .await
            .unwrap()
            .is_none()
    );
    let said = notes.take();
    for field in [
        "lock.scope=\"session\"",
        "lock.mode=\"shared\"",
        "lock.outcome=\"not_acquired\"",
        "lock.wait_ms=",
    ] {
        assert!(said.contains(field), "{field} in {said}");
    }
    tx.rollback().await.unwrap();

    // A snapshot that is older than the lock.
    let mut conn = pool.acquire().await.unwrap();
    for (begin, warned) in [
        ("BEGIN", false),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", true),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", true),
    ] {
        for lock in [lock.clone(), AdvisoryLock::all([1, 2])] {
            let mut tx = conn.begin_with(begin).await.unwrap();
            lock.acquire_xact(&mut tx).await.unwrap();
            assert_eq!(
                notes.take().contains("snapshot is older"),
                warned,
                "{begin}"
            );
            tx.rollback().await.unwrap();
        }
    }
    drop(conn);

    // A guard that is released before its transaction is committed.
    let mut guard = lock.acquire(&pool).await.unwrap();
    guard
        .connection()
        .await
        .unwrap()
        .execute("BEGIN")
        .await
        .unwrap();
    guard.release().await.unwrap();
    assert!(notes.take().contains("released inside an open transaction"));

    // What other code left behind.
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .after_release(advisory_core::hygiene::after_release)
        .connect_with(database.options())
        .await
        .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    advisory_core::lock(&mut conn, 42).await.unwrap();
    drop(conn);
    let _ = pool.acquire().await.unwrap();
    assert!(notes.take().contains("keys=\"42\""));
}
