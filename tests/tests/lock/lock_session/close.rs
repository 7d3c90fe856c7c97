//! Closing a session: by itself, by its pool, or with its last clone.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession};
use advisory_tests::{Database, by_depth, drop_when};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::{HANG_TIMEOUT, NAP, acquire_each, assert_closes, ends, open, through_proxy};

fn is_pool_closed(error: &Error) -> bool {
    matches!(error, Error::Database(sqlx::Error::PoolClosed))
}

/// Closes a session that holds a lock and has a wait.
async fn assert_all_are_notified(
    database: &Database,
    locks: &LockSession,
    close: impl Future<Output = ()>,
) {
    let lock = AdvisoryLock::new(1);
    let guard = lock.acquire(locks).await.unwrap();
    let close = async {
        tokio::task::yield_now().await;
        close.await;
    };
    let (waited, ()) = tokio::join!(ends(lock.acquire(locks)), close);
    assert!(is_pool_closed(&waited.unwrap_err()));
    ends(guard.lost()).await;
    assert!(guard.is_lost());
    assert!(guard.release().await.unwrap_err().is_lost());
    database.wait_until_held(0).await;
    let late = AdvisoryLock::new(2).acquire(locks).await;
    assert!(is_pool_closed(&late.unwrap_err()));
}

#[tokio::test]
async fn closed_session_ends_waits_and_notifies_guards() {
    let (database, pool, locks) = open(2).await;
    let close = async {
        locks.close().await;
        assert!(database.advisory_locks().await.is_empty());
    };
    assert_all_are_notified(&database, &locks, close).await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn closed_pool_ends_waits_and_notifies_guards() {
    let (database, pool, locks) = open(2).await;
    // `Pool::close` takes effect when it is called.
    let close = async { pool.close().await };
    assert_all_are_notified(&database, &locks, close).await;
    locks.close().await;
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn last_clone_and_last_guard_close_the_session() {
    let (database, pool) = Database::with_pool(2).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1);
    let guard = lock.acquire(&locks.clone()).await.unwrap();
    drop(locks);
    assert!(!guard.is_lost());
    assert!(lock.try_acquire(&pool).await.unwrap().is_none());
    drop(guard);
    database
        .wait_until_backends("the session is closed", |backends| backends.len() <= before)
        .await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn guards_are_notified_before_others_have_their_locks() {
    let (database, proxy, pool) = through_proxy().await;
    let outside = database.pool(1).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1);
    let guard = lock.acquire(&locks).await.unwrap();
    let mut waits = pin!(lock.acquire(&outside));
    database.drop_when_waiting(&mut waits).await;
    proxy.set_delay(Duration::from_millis(200));
    let mut body = pin!(guard.until_lost(pending::<()>()));
    assert!((&mut body).now_or_never().is_none());
    let mut closes = pin!(locks.close());
    let other = tokio::select! {
        other = &mut waits => other.unwrap(),
        () = &mut closes => ends(waits).await.unwrap(),
    };
    assert!(guard.is_lost(), "two holders");
    drop(other);
    database.assert_nothing_leaked(&outside).await;
}

#[tokio::test]
async fn second_close_waits_for_the_first() {
    let (database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    let _guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    proxy.set_delay(Duration::from_millis(200));
    let first = tokio::spawn({
        let locks = locks.clone();
        async move { locks.close().await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    ends(locks.close()).await;
    assert!(database.advisory_locks().await.is_empty());
    first.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acquired_after_close() {
    let (database, pool) = Database::with_pool(2).await;
    for n in 0..by_depth(70, 350) {
        let locks = LockSession::new(&pool);
        let asks = tokio::spawn({
            let locks = locks.clone();
            async move {
                for _ in 0..n % 7 {
                    tokio::task::yield_now().await;
                }
                AdvisoryLock::new(n).acquire(&locks).await
            }
        });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        locks.close().await;
        let late = asks.await.unwrap().is_ok_and(|guard| !guard.is_lost());
        assert!(!late, "round {n}");
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn close_ends_on_a_silent_network() {
    let (_database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1).response_timeout(Duration::from_millis(300));
    let _guard = lock.acquire(&locks).await.unwrap();
    proxy.set_silent(true);
    ends(locks.close()).await;
    proxy.set_silent(false);
}

/// One silent session does not delay the others.
#[tokio::test]
async fn sessions_are_closed_at_the_same_time() {
    let (database, proxy, pool) = through_proxy().await;
    let outside = LockSession::new(&database.pool(2).await);
    let locks = LockSession::new(&pool);
    let patient = |key: i64| AdvisoryLock::new(key).response_timeout(HANG_TIMEOUT * 10);
    let keys = [1, 2, 3].map(patient);
    let held = acquire_each(&outside, 1..=3).await;
    let mut waits = pin!(join_all(keys.iter().map(|lock| lock.acquire(&locks))));
    drop_when(database.wait_until_waiting(3), &mut waits).await;
    drop(held);
    let guards = ends(waits).await;
    proxy.set_silent(true);
    proxy.reset();
    let mut closes = pin!(locks.close());
    let are_all_asked = async {
        let is_asked = || {
            let messages = proxy.messages();
            let unlocks = messages.iter().filter_map(|message| message.sql.as_ref());
            unlocks
                .filter(|sql| sql.contains("pg_advisory_unlock_all"))
                .count()
                == 4
        };
        while !is_asked() {
            sleep(NAP / 4).await;
        }
    };
    drop_when(ends(are_all_asked), &mut closes).await;
    proxy.set_silent(false);
    ends(closes).await;
    drop(guards);
    assert_closes(&outside, &database, &pool).await;
}
