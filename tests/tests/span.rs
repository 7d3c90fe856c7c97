//! Tracing: a span for every acquire, and a warning for every misuse. The test is alone in its
//! program, because the subscriber is global.

use std::sync::{Arc, Mutex};

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use sqlx::{Connection as _, Executor as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Records events at `WARN` and above, and the fields of every span.
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
    /// Returns what has been recorded since the last call.
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn every_acquire_is_a_span_and_every_misuse_a_warning() {
    let notes = Notes::default();
    let _listening = tracing::subscriber::set_default(notes.clone());
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("one");

    let tx = lock.begin(&pool).await.unwrap();
    let recorded = notes.take();
    assert!(!recorded.contains("lock.queue_ms"), "{recorded}");
    for field in [
        "lock.name=\"one\"",
        "lock.scope=\"xact\"",
        "lock.mode=\"exclusive\"",
        "lock.outcome=\"acquired\"",
    ] {
        assert!(recorded.contains(field), "{field} in {recorded}");
    }
    assert!(
        lock.clone()
            .shared()
            .try_acquire(&pool)
            .await
            .unwrap()
            .is_none()
    );
    let recorded = notes.take();
    for field in [
        "lock.scope=\"session\"",
        "lock.mode=\"shared\"",
        "lock.outcome=\"not_acquired\"",
        "lock.wait_ms=",
    ] {
        assert!(recorded.contains(field), "{field} in {recorded}");
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
    let conn = guard.connection().await.unwrap();
    conn.execute("BEGIN").await.unwrap();
    guard.release().await.unwrap();
    assert!(notes.take().contains("released inside an open transaction"));

    // A lock that other code has left.
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .after_release(advisory_core::release_leftover_locks)
        .connect_with(database.options())
        .await
        .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    advisory_core::lock(&mut conn, 42).await.unwrap();
    drop(conn);
    let _ = pool.acquire().await.unwrap();
    assert!(notes.take().contains("keys=\"42\""));
}
