//! Metrics, with the feature `metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, advisory, describe_metrics};
use advisory_tests::{Database, another_pool};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sqlx::{PgConnection, PgPool};

#[advisory(key = "body", scope = session)]
async fn in_a_session(pool: &PgPool, seen: &Snapshotter) -> Result<Counts, Error> {
    let _ = pool;
    Ok(counts(seen))
}

#[advisory(key = "body")]
async fn in_a_transaction(pool: &PgPool, seen: &Snapshotter) -> Result<Counts, Error> {
    let _ = pool;
    Ok(counts(seen))
}

#[advisory(key = "body")]
async fn on_a_connection(conn: &mut PgConnection, seen: &Snapshotter) -> Result<Counts, Error> {
    let _ = conn;
    Ok(counts(seen))
}

/// The change of each metric since the last snapshot, by name and labels. The value of a histogram
/// is its number of samples.
type Counts = BTreeMap<String, f64>;

#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn counts(seen: &Snapshotter) -> Counts {
    let snapshot = seen.snapshot().into_vec();
    let counts = snapshot.into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{} = {}", label.key(), label.value()))
            .collect();
        let count = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(level) => level.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        (format!("{} {labels:?}", key.name()), count)
    });
    counts.collect()
}

/// The metric whose name and labels contain all of these parts.
fn count(counts: &Counts, parts: &[&str]) -> f64 {
    let found = counts
        .iter()
        .find(|(name, _)| parts.iter().all(|part| name.contains(part)));
    *found
        .unwrap_or_else(|| panic!("no {parts:?} in {counts:#?}"))
        .1
}

#[tokio::test]
async fn every_acquire_is_counted_with_its_outcome() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _counting = metrics::set_default_local_recorder(&recorder);
    describe_metrics();
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("report");
    let guard = lock.acquire(&pool).await.unwrap();
    let refused = lock.try_begin(&pool).await;
    assert!(refused.unwrap().is_none());
    let waiting = lock.begin(&pool);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), waiting)
            .await
            .is_err()
    );
    let closed = database.pool(1).await;
    closed.close().await;
    lock.begin(&closed).await.unwrap_err();
    let counts = counts(&seen);
    for (scope, outcome) in [
        ("session", "acquired"),
        ("xact", "not_acquired"),
        ("xact", "dropped"),
        ("xact", "error"),
    ] {
        for metric in ["advisory_acquire_total", "advisory_wait_seconds"] {
            let outcome = format!("outcome = {outcome}");
            assert!((count(&counts, &[metric, scope, &outcome]) - 1.0).abs() < 0.1);
        }
    }
    assert!(
        !counts.keys().any(|key| key.contains("report")),
        "{counts:?}"
    );
    guard.release().await.unwrap();
}

#[tokio::test]
async fn waits_in_this_process_and_on_the_server_are_counted_apart() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("busy");
    let held = lock.begin(&another_pool(&pool)).await.unwrap();
    counts(&seen);
    let waits = async {
        let wait = async || lock.begin(&pool).await.unwrap().commit().await.unwrap();
        tokio::join!(wait(), wait());
    };
    tokio::join!(waits, async {
        database.wait_until_waiting(1).await;
        let now = counts(&seen);
        for queue in ["process", "server"] {
            let waiting = count(&now, &["advisory_waiting", &format!("queue = {queue}")]);
            assert!((waiting - 1.0).abs() < 0.1, "{queue}: {now:?}");
        }
        held.commit().await.unwrap();
    });
    let after = counts(&seen);
    assert!((count(&after, &["advisory_queue_seconds", "xact"]) - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn held_locks_are_gauged_until_they_are_released() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let (database, pool) = Database::with_pool(3).await;
    let mut conn = database.connection().await;
    let lock = AdvisoryLock::new("closure");
    let check = |scope: &str, within: Counts| {
        assert!((count(&within, &["advisory_held", scope]) - 1.0).abs() < 0.1);
        let after = counts(&seen);
        assert!((count(&after, &["advisory_held", scope]) + 1.0).abs() < 0.1);
        assert!((count(&after, &["advisory_hold_seconds", scope]) - 1.0).abs() < 0.1);
    };
    check("session", in_a_session(&pool, &seen).await.unwrap());
    check("xact", in_a_transaction(&pool, &seen).await.unwrap());
    check("xact", on_a_connection(&mut conn, &seen).await.unwrap());
    let closure = lock.transaction(&pool, async |_| Ok::<_, Error>(counts(&seen)));
    check("xact", closure.await.unwrap());
}

#[tokio::test]
async fn held_permits_are_gauged_apart() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let (_database, pool) = Database::with_pool(4).await;
    let locks = LockSession::new(&pool);
    let permits = |counts: &Counts, scope| count(counts, &["advisory_permits_held", scope]);
    let lock = AdvisoryLock::new("export").permits(3);
    let guard = lock.acquire(&pool).await.unwrap();
    let shared = lock.acquire(&locks).await.unwrap();
    let plain = AdvisoryLock::new("report").acquire(&pool).await.unwrap();
    let within = lock.transaction(&pool, async |_| Ok::<_, Error>(counts(&seen)));
    let within = within.await.unwrap();
    assert!((permits(&within, "session") - 2.0).abs() < 0.1);
    assert!((permits(&within, "xact") - 1.0).abs() < 0.1);
    assert!((count(&within, &["advisory_held", "session"]) - 3.0).abs() < 0.1);
    guard.release().await.unwrap();
    shared.release().await.unwrap();
    let after = counts(&seen);
    assert!((permits(&after, "session") + 2.0).abs() < 0.1, "{after:?}");
    assert!((permits(&after, "xact") + 1.0).abs() < 0.1, "{after:?}");
    plain.release().await.unwrap();
}

#[tokio::test]
async fn lost_session_is_not_gauged() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let (_database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("leader").acquire(&pool).await.unwrap();
    assert!((count(&counts(&seen), &["advisory_held"]) - 1.0).abs() < 0.1);
    let end = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())");
    end.execute(guard.connection().await.unwrap())
        .await
        .unwrap_err();
    guard.lost().await;
    assert!((count(&counts(&seen), &["advisory_held"]) + 1.0).abs() < 0.1);
}
