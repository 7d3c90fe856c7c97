//! A `LockSession` behind a pooler: a transaction holds each lock, on a backend that the pooler
//! lends to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, LockSessionGuard};
use advisory_tests::{LockRow, Pooling, by_depth, drop_when};
use advisory_verbs::{unsupported, with_holders};
use sqlx::{Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fixture::{Cache, Fixture, in_time, key};

async fn start(backends: u32) -> Option<(Fixture, PgPool, LockSession)> {
    let fixture = Fixture::new(Pooling::Transaction, backends).await?;
    let pool = fixture.pool(Cache::Default, 8).await;
    let locks = LockSession::new(&pool);
    Some((fixture, pool, locks))
}

fn numbered(n: usize) -> AdvisoryLock {
    AdvisoryLock::new(i64::try_from(n).unwrap())
}

async fn acquire(fixture: &Fixture, lock: &AdvisoryLock, locks: &LockSession) -> LockSessionGuard {
    let acquired = in_time(&fixture.database, lock.acquire(locks)).await;
    acquired.unwrap_or_else(|error| panic!("{error}"))
}

/// Ends the backend that holds a lock.
async fn terminate(fixture: &Fixture, lock: &AdvisoryLock) {
    let is_target = |row: &LockRow| row.granted && key(row) == lock.keys()[0];
    let database = &fixture.database;
    database.signal("pg_terminate_backend", is_target).await;
}

/// Two thousand tasks, each with a lock of its own, and two backends. The others wait in memory:
/// the pooler has never more than a few clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_locks_share_two_backends() {
    const BACKENDS: usize = 2;
    let Some((fixture, pool, locks)) = start(2).await else {
        return;
    };
    let fixture = Arc::new(fixture);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for n in 0..2_000 {
        let (fixture, locks) = (Arc::clone(&fixture), locks.clone());
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        tasks.spawn(async move {
            let lock = numbered(n).timeout(Duration::from_mins(2));
            let guard = lock.acquire(&locks).await.unwrap();
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            assert!(now <= BACKENDS, "more are held than there are backends");
            let rows = fixture.database.advisory_locks().await;
            let held = rows
                .iter()
                .filter(|row| row.granted && key(row) == lock.keys()[0]);
            assert_eq!(held.count(), 1, "{rows:?}");
            assert!(rows.len() <= BACKENDS + 1, "{rows:?}");
            running.fetch_sub(1, Ordering::SeqCst);
            guard.release().await.unwrap();
        });
    }
    in_time(&fixture.database, tasks.join_all()).await;
    assert_eq!(
        most.load(Ordering::SeqCst),
        BACKENDS,
        "backends are left unused"
    );
    locks.close().await;
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_call_waits_in_memory_for_a_backend_until_its_deadline() {
    let Some((fixture, pool, locks)) = start(1).await else {
        return;
    };
    let held = acquire(&fixture, &numbered(1), &locks).await;
    let error = numbered(2)
        .timeout(Duration::from_millis(300))
        .acquire(&locks)
        .await;
    let is_exhausted = matches!(&error, Err(Error::Database(sqlx::Error::PoolTimedOut)));
    assert!(is_exhausted, "{error:?}");
    let (second, lock) = (numbered(2).wait_forever(), locks.clone());
    let waiting = tokio::spawn(async move { second.acquire(&lock).await });
    held.release().await.unwrap();
    let second = in_time(&fixture.database, waiting).await.unwrap().unwrap();
    second.release().await.unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_call_without_a_deadline_outlasts_the_limit_of_the_pooler() {
    let Some((fixture, pool, locks)) = start(1).await else {
        return;
    };
    let held = acquire(&fixture, &numbered(1), &locks).await;
    let console = fixture.pooler.options().database("pgbouncer");
    let mut console = sqlx::ConnectOptions::connect(&console).await.unwrap();
    console.execute("SET query_wait_timeout = 1").await.unwrap();
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { numbered(2).wait_forever().acquire(&locks).await }
    });
    // The pooler has ended one question at least.
    sleep(Duration::from_millis(2_500)).await;
    held.release().await.unwrap();
    let granted = in_time(&fixture.database, waiting).await.unwrap().unwrap();
    granted.release().await.unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_lock_that_others_hold_is_refused_in_time_and_granted_later() {
    let Some((fixture, pool, locks)) = start(3).await else {
        return;
    };
    for lock in [numbered(1), AdvisoryLock::all([1, 2]), numbered(1).shared()] {
        let mut holder = fixture.database.connection().await;
        advisory_core::lock(&mut holder, 1).await.unwrap();
        assert!(lock.try_acquire(&locks).await.unwrap().is_none());
        let refused = lock.clone().timeout(Duration::from_millis(50));
        let refused = with_holders(async || refused.acquire(&locks).await.map(drop)).await;
        let error = refused.unwrap_err();
        let is_named = matches!(&error, Error::NotAcquired { holders, .. } if holders.len() == 1);
        assert!(is_named, "{error:?}");
        fixture.database.wait_until_held(1).await;
        let waiting = tokio::spawn({
            let (lock, locks) = (lock.clone(), locks.clone());
            async move { lock.acquire(&locks).await }
        });
        drop(holder);
        let guard = in_time(&fixture.database, waiting).await.unwrap().unwrap();
        fixture.database.wait_until_held(lock.keys().len()).await;
        guard.release().await.unwrap();
        fixture.database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_want_one_lock_take_turns() {
    let Some((fixture, pool, locks)) = start(2).await else {
        return;
    };
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..by_depth(50, 400) {
        let (locks, inside) = (locks.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            let lock = AdvisoryLock::new("one").timeout(Duration::from_mins(1));
            // Some are dropped while they wait.
            if n % 7 == 3 {
                let limit = Duration::from_millis(u64::try_from(n).unwrap());
                let _ = tokio::time::timeout(limit, lock.acquire(&locks)).await;
                return;
            }
            let guard = lock.acquire(&locks).await.unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            if n % 2 == 0 {
                guard.release().await.unwrap();
            }
        });
    }
    in_time(&fixture.database, tasks.join_all()).await;
    fixture.database.assert_nothing_leaked(&pool).await;
}

/// The holder releases at the moment at which the wait ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_that_end_leave_nothing_behind() {
    let Some((fixture, pool, locks)) = start(3).await else {
        return;
    };
    let mut holder = fixture.database.connection().await;
    let (mut granted, mut refused) = (0, 0);
    for n in 0..by_depth(60, 600) {
        advisory_core::lock(&mut holder, 1).await.unwrap();
        let limit = Duration::from_millis(n % 12 + 1);
        let (lock, dropped) = (numbered(1).timeout(limit), n % 3 == 0);
        let (locks, pool) = (locks.clone(), pool.clone());
        let waiting = tokio::spawn(async move {
            if dropped {
                let _ = tokio::time::timeout(limit, numbered(1).acquire(&locks)).await;
                return None;
            }
            let released = if n % 2 == 0 {
                let acquired = lock.try_acquire(&locks).await;
                found_a_backend(acquired)?.release().await
            } else {
                let acquired = lock.try_acquire(&pool).await;
                found_a_backend(acquired)?.release().await
            };
            released.unwrap();
            Some(())
        });
        sleep(limit).await;
        advisory_core::unlock(&mut holder, 1).await.unwrap();
        match in_time(&fixture.database, waiting).await.unwrap() {
            Some(()) => granted += 1,
            None => refused += 1,
        }
        fixture.database.wait_until_held(0).await;
    }
    println!("{granted} granted, {refused} refused or dropped");
    fixture.database.assert_nothing_leaked(&pool).await;
}

/// On a busy machine, a call may be over before it gets a backend.
fn found_a_backend<G>(acquired: Result<Option<G>, Error>) -> Option<G> {
    match acquired {
        Err(Error::Database(sqlx::Error::PoolTimedOut)) => None,
        acquired => acquired.unwrap(),
    }
}

#[tokio::test]
async fn a_lost_lock_is_noticed_and_leaves_the_others_alone() {
    let Some((fixture, pool, locks)) = start(4).await else {
        return;
    };
    let (kept, lost) = (numbered(1), numbered(2));
    let kept_guard = acquire(&fixture, &kept, &locks).await;
    let lost_guard = acquire(&fixture, &lost, &locks).await;
    let own = numbered(3).acquire(&pool).await.unwrap();
    let body = async {
        terminate(&fixture, &lost).await;
        std::future::pending::<()>().await;
    };
    let ended = in_time(&fixture.database, lost_guard.until_lost(body)).await;
    assert!(matches!(ended, Err(Error::Lost { .. })), "{ended:?}");
    assert!(lost_guard.is_lost() && !kept_guard.is_lost());
    let again = acquire(&fixture, &lost, &locks).await;
    let error = lost_guard.release().await.unwrap_err();
    assert!(error.is_lost(), "{error}");
    again.release().await.unwrap();
    kept_guard.release().await.unwrap();
    assert!(!own.is_lost());
    drop(own);
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_end_of_the_pooler_loses_every_lock() {
    let Some((fixture, pool, locks)) = start(4).await else {
        return;
    };
    let guards = [
        acquire(&fixture, &numbered(1), &locks).await,
        acquire(&fixture, &numbered(2), &locks).await,
    ];
    let own = numbered(3).acquire(&pool).await.unwrap();
    fixture.pooler.restart();
    for guard in &guards {
        in_time(&fixture.database, guard.lost()).await;
    }
    in_time(&fixture.database, own.lost()).await;
    for guard in guards {
        assert!(guard.release().await.unwrap_err().is_lost());
    }
    assert!(own.release().await.unwrap_err().is_lost());
    acquire(&fixture, &numbered(1), &locks)
        .await
        .release()
        .await
        .unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_behind() {
    let Some((fixture, pool, locks)) = start(2).await else {
        return;
    };
    let first = acquire(&fixture, &numbered(1), &locks).await;
    let second = acquire(&fixture, &numbered(2), &locks).await;
    for _ in 0..by_depth(5, 20) {
        // One waits for its lock, the other for a backend.
        let (held, free) = (numbered(1), numbered(3));
        let both = async { tokio::join!(held.acquire(&locks), free.acquire(&locks)) };
        drop_when(sleep(Duration::from_millis(10)), both).await;
    }
    drop(first);
    fixture.database.wait_until_held(1).await;
    acquire(&fixture, &numbered(3), &locks)
        .await
        .release()
        .await
        .unwrap();
    second.release().await.unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn close_releases_all_and_tells_everybody() {
    let Some((fixture, pool, locks)) = start(3).await else {
        return;
    };
    let guard = acquire(&fixture, &numbered(1), &locks).await;
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { numbered(1).acquire(&locks).await.map(drop) }
    });
    sleep(Duration::from_millis(20)).await;
    in_time(&fixture.database, locks.close()).await;
    assert!(fixture.database.advisory_locks().await.is_empty());
    in_time(&fixture.database, guard.lost()).await;
    assert!(guard.is_lost() && guard.release().await.unwrap_err().is_lost());
    for refused in [
        waiting.await.unwrap(),
        numbered(2).acquire(&locks).await.map(drop),
    ] {
        let is_closed = matches!(&refused, Err(Error::Database(sqlx::Error::PoolClosed)));
        assert!(is_closed, "{refused:?}");
    }
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_closed_pool_loses_every_lock() {
    let Some((fixture, pool, locks)) = start(3).await else {
        return;
    };
    let guard = acquire(&fixture, &numbered(1), &locks).await;
    in_time(&fixture.database, pool.close()).await;
    in_time(&fixture.database, guard.lost()).await;
    fixture.database.wait_until_held(0).await;
}

/// The record of a token gives the transaction no id, for which `VACUUM` would wait.
#[tokio::test]
async fn fencing_tokens_grow() {
    let Some((fixture, pool, locks)) = start(3).await else {
        return;
    };
    let mut last = 0;
    for n in 0..by_depth(6, 20) {
        let token = if n % 2 == 0 {
            let mut guard = numbered(1).acquire(&pool).await.unwrap();
            let token = guard.fencing_token().await.unwrap();
            assert!(!has_transaction_id(&fixture).await);
            guard.release().await.unwrap();
            token
        } else {
            let guard = acquire(&fixture, &numbered(1), &locks).await;
            let (one, two) = tokio::join!(guard.fencing_token(), guard.fencing_token());
            assert!(!guard.is_lost() && !has_transaction_id(&fixture).await);
            guard.release().await.unwrap();
            one.unwrap().max(two.unwrap())
        };
        assert!(token > last, "{token} after {last}");
        last = token;
    }
    fixture.database.assert_nothing_leaked(&pool).await;
}

/// Every error ends the transaction that holds the lock.
#[tokio::test]
async fn a_token_that_is_refused_ends_the_lock() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    let name = fixture.database.name();
    fixture.database.role().await;
    for statement in [
        "DO $$DECLARE f regprocedure; BEGIN \
         FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' LOOP \
         EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f); END LOOP; END$$"
            .to_owned(),
        format!("ALTER DATABASE \"{name}\" SET role = '{name}'"),
    ] {
        fixture.database.execute(statement).await;
    }
    let pool = fixture.pool(Cache::Default, 4).await;
    let locks = LockSession::new(&pool);
    let mut of_pool = numbered(1).acquire(&pool).await.unwrap();
    let refused = of_pool.fencing_token().await;
    unsupported(&refused.unwrap_err());
    assert!(of_pool.is_lost());
    let of_locks = acquire(&fixture, &numbered(1), &locks).await;
    let refused = of_locks.fencing_token().await;
    unsupported(&refused.unwrap_err());
    in_time(&fixture.database, of_locks.lost()).await;
    fixture.database.wait_until_held(0).await;
}

async fn has_transaction_id(fixture: &Fixture) -> bool {
    let mut direct = fixture.database.connection().await;
    let found = sqlx::query_scalar::<_, bool>(
        "SELECT EXISTS(SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' \
         AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL))",
    );
    found.fetch_one(&mut direct).await.unwrap()
}
