//! Tracing: a span for every acquire, and a warning for every misuse.

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Trace};
use sqlx::{Connection as _, Executor as _};

#[tokio::test]
async fn every_acquire_is_a_span_and_every_misuse_a_warning() {
    let trace = Trace::start(|metadata| metadata.target().starts_with("advisory_core"));
    let take = || trace.take().concat();
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("one");

    let tx = lock.begin(&pool).await.unwrap();
    let recorded = take();
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
    let recorded = take();
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
            let is_warned = take().contains("snapshot is older");
            assert_eq!(is_warned, warned, "{begin}");
            tx.rollback().await.unwrap();
        }
    }
    drop(conn);

    // A guard that is released before its transaction is committed.
    let mut guard = lock.acquire(&pool).await.unwrap();
    let conn = guard.connection().await.unwrap();
    conn.execute("BEGIN").await.unwrap();
    guard.release().await.unwrap();
    assert!(take().contains("released inside an open transaction"));

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
    assert!(take().contains("keys=\"42\""));
}
