//! Many locks on one session: what it holds, hands over and loses.

use std::pin::pin;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key, LockSession, LockSessionGuard};
use advisory_tests::{Database, another_pool, drop_when, scalar};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sqlx::{Executor as _, PgPool};
use tokio::task::JoinSet;

const MANY: i64 = 2_000;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);

async fn ours(database: &Database) -> Vec<i32> {
    let mut pids: Vec<_> = database
        .advisory_locks()
        .await
        .iter()
        .map(|lock| lock.pid)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[tokio::test]
async fn thousands_of_locks_are_one_connection() {
    let (database, pool) = Database::with_pool(2).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let taken = (0..MANY).map(|key| {
        let locks = &locks;
        async move { AdvisoryLock::new(key).acquire(locks).await.unwrap() }
    });
    let guards = join_all(taken).await;
    database.wait_until_held(2_000).await;
    assert_eq!(ours(&database).await.len(), 1);
    assert!(database.backends().await.len() <= before + 1);

    // Each of them excludes others in every scope, and here.
    for key in [0, 1, 777, MANY - 1] {
        let lock = AdvisoryLock::new(key);
        assert!(lock.try_acquire(&locks).await.unwrap().is_none());
        assert!(lock.try_acquire(&pool).await.unwrap().is_none());
        assert!(lock.try_begin(&pool).await.unwrap().is_none());
        let shared = lock.shared();
        assert!(shared.try_acquire(&locks).await.unwrap().is_none());
    }
    let started = Instant::now();
    let released = guards
        .into_iter()
        .map(|guard| async { guard.release().await.unwrap() });
    join_all(released).await;
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(database.advisory_locks().await.is_empty());
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn waiters_are_served_in_order_and_by_name() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    for lock in [
        AdvisoryLock::new("one"),
        AdvisoryLock::new((1, -7)),
        AdvisoryLock::all([Key::from(1), Key::from(2), Key::from((7, 7))]),
    ] {
        let first = lock.acquire(&locks).await.unwrap();
        assert_eq!(first.lock_id(), lock.id());
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for n in 0..40 {
            let (lock, locks, sender) = (lock.clone(), locks.clone(), sender.clone());
            tasks.spawn(async move {
                let guard = lock.acquire(&locks).await.unwrap();
                sender.send(n).unwrap();
                guard.release().await.unwrap();
            });
            tokio::task::yield_now().await;
        }
        first.release().await.unwrap();
        for n in 0..40 {
            assert_eq!(order.recv().await, Some(n), "{lock}");
        }
        tasks.join_all().await;
    }
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn holder_elsewhere_is_waited_for_and_named() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new("one");
    let held = lock.acquire(&pool).await.unwrap();
    assert!(lock.try_acquire(&locks).await.unwrap().is_none());
    let limited = lock.clone().timeout(Duration::from_millis(50));
    match limited.acquire(&locks).await {
        Err(Error::NotAcquired { waited, .. }) => assert!(waited >= Duration::from_millis(50)),
        other => panic!("{other:?}"),
    }
    assert!(limited.try_acquire(&locks).await.unwrap().is_none());
    let mut wait = pin!(lock.acquire(&locks));
    assert!(wait.as_mut().now_or_never().is_none());
    // It queues on the server in the end.
    let queued = database.wait_until_waiting(1);
    tokio::select! {
        _ = &mut wait => panic!("two holders"),
        () = queued => {}
    }
    held.release().await.unwrap();
    let guard = tokio::time::timeout(HANG_TIMEOUT, wait)
        .await
        .unwrap()
        .unwrap();
    assert!(lock.try_acquire(&pool).await.unwrap().is_none());
    guard.release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn dropped_wait_leaves_the_queue_of_the_server() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new("one");
    let held = lock.acquire(&pool).await.unwrap();
    drop_when(database.wait_until_waiting(1), lock.acquire(&locks)).await;
    database.wait_until_waiting(0).await;
    // The next one inherits the place of a dropped one.
    let inherits = lock.acquire(&locks);
    let dropped = lock.acquire(&locks);
    let (mut dropped, mut inherits) = (Box::pin(dropped), pin!(inherits));
    assert!(dropped.as_mut().now_or_never().is_none());
    assert!(inherits.as_mut().now_or_never().is_none());
    tokio::select! {
        _ = &mut dropped => panic!("two holders"),
        _ = &mut inherits => panic!("two holders"),
        () = database.wait_until_waiting(1) => {}
    }
    drop(dropped);
    held.release().await.unwrap();
    let guard = tokio::time::timeout(HANG_TIMEOUT, inherits).await.unwrap();
    drop(guard);
    database.wait_until_held(0).await;
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn wait_outlives_the_session_that_queues_for_it() {
    let (database, pool) = Database::with_pool(2).await;
    for (end, queueing) in [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)] {
        let locks = LockSession::new(&pool).queueing(queueing);
        let lock = AdvisoryLock::new("one");
        let mut held = lock.begin(&pool).await.unwrap();
        let mut wait = pin!(lock.acquire(&locks));
        for _ in 0..2 {
            tokio::select! {
                _ = &mut wait => panic!("two holders"),
                () = database.wait_until_waiting(1) => {}
            }
            let end = format!(
                "SELECT {end}(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                 WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
            );
            held.execute(sqlx::AssertSqlSafe(end)).await.unwrap();
        }
        held.commit().await.unwrap();
        let guard = tokio::time::timeout(HANG_TIMEOUT, wait)
            .await
            .unwrap()
            .unwrap();
        guard.release().await.unwrap();
        locks.close().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn all_guards_of_a_lost_session_are_told_at_once() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let mut guards = Vec::new();
    for key in 0..50 {
        guards.push(AdvisoryLock::new(key).acquire(&locks).await.unwrap());
    }
    let (first, told) = (
        guards[0].lost(),
        join_all(
            guards
                .iter()
                .map(|guard| guard.until_lost(std::future::pending::<()>())),
        ),
    );
    database.terminate_lockers().await;
    let told = tokio::time::timeout(HANG_TIMEOUT, told).await.unwrap();
    first.await;
    assert!(
        told.iter()
            .all(|told| matches!(told, Err(error) if error.is_lost()))
    );
    // They stay lost when the locks are taken anew.
    let again = AdvisoryLock::new(0).acquire(&locks).await.unwrap();
    assert!(guards.iter().all(LockSessionGuard::is_lost));
    for guard in guards {
        assert!(guard.release().await.unwrap_err().is_lost());
    }
    assert!(!again.is_lost());
    assert!(
        AdvisoryLock::new(0)
            .try_acquire(&pool)
            .await
            .unwrap()
            .is_none()
    );
    again.release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn shared_locks_are_held_together_and_exclude_exclusive_ones() {
    let (database, pool) = Database::with_pool(3).await;
    let locks = LockSession::new(&pool);
    let (shared, exclusive) = (AdvisoryLock::new(1).shared(), AdvisoryLock::new(1));
    let tries = (0..20).map(|_| shared.try_acquire(&locks));
    let guards: Vec<_> = join_all(tries).await;
    assert!(guards.iter().all(|guard| matches!(guard, Ok(Some(_)))));
    // The session is asked once.
    assert_eq!(database.advisory_locks().await.len(), 1);
    let elsewhere = shared.try_acquire(&pool).await.unwrap().unwrap();
    assert!(exclusive.try_acquire(&locks).await.unwrap().is_none());
    drop(guards);
    assert!(exclusive.try_acquire(&locks).await.unwrap().is_none());
    elsewhere.release().await.unwrap();
    let guard = exclusive.acquire(&locks).await.unwrap();
    assert!(shared.try_acquire(&locks).await.unwrap().is_none());
    guard.release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

/// Readers that follow one another do not keep a writer of another process out.
#[tokio::test]
async fn writer_elsewhere_gets_its_chance_among_readers() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let shared = AdvisoryLock::new(1).shared();
    let mut readers = JoinSet::new();
    let first = shared.acquire(&locks).await.unwrap();
    for _ in 0..4 {
        let (shared, locks) = (shared.clone(), locks.clone());
        readers.spawn(async move {
            loop {
                let guard = shared.acquire(&locks).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(guard);
            }
        });
    }
    let exclusive = AdvisoryLock::new(1);
    let mut writes = pin!(exclusive.acquire(&pool));
    tokio::select! {
        _ = &mut writes => panic!("two holders"),
        () = database.wait_until_waiting(1) => {}
    }
    drop(first);
    let guard = tokio::time::timeout(HANG_TIMEOUT, writes)
        .await
        .unwrap()
        .unwrap();
    readers.shutdown().await;
    guard.release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn outsider_in_the_queue_of_a_hot_key_is_served() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new("hot");
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (lock, locks) = (lock.clone(), locks.clone());
        tasks.spawn(async move {
            loop {
                let guard = lock.acquire(&locks).await.unwrap();
                guard.release().await.unwrap();
            }
        });
    }
    for _ in 0..20 {
        let guard = tokio::time::timeout(HANG_TIMEOUT, lock.acquire(&pool)).await;
        guard.unwrap().unwrap().release().await.unwrap();
    }
    tasks.shutdown().await;
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

async fn count_in(pool: &PgPool, locks: &LockSession, key: i64, times: usize) {
    let lock = AdvisoryLock::new(key);
    for _ in 0..times {
        let guard = lock.acquire(locks).await.unwrap();
        let number: i64 = scalar(pool, "SELECT n FROM counter").await;
        tokio::task::yield_now().await;
        sqlx::query("UPDATE counter SET n = $1")
            .bind(number + 1)
            .execute(pool)
            .await
            .unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn two_processes_never_hold_at_once() {
    let (database, pool) = Database::with_pool(8).await;
    database
        .execute("CREATE TABLE counter AS SELECT 0::bigint AS n")
        .await;
    let sessions = [
        LockSession::new(&pool),
        LockSession::new(&another_pool(&pool)),
    ];
    let tasks = sessions.iter().flat_map(|locks| (0..3).map(move |_| locks));
    join_all(tasks.map(|locks| count_in(&pool, locks, 1, 30))).await;
    assert_eq!(scalar::<i64>(&pool, "SELECT n FROM counter").await, 180);
    for locks in sessions {
        locks.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn ten_thousand_waiters_take_four_connections() {
    let (database, pool) = Database::with_pool(2).await;
    let holder = LockSession::new(&another_pool(&pool));
    let take = |key| {
        let holder = &holder;
        async move { AdvisoryLock::new(key).acquire(holder).await.unwrap() }
    };
    let held = join_all((0..MANY).map(take)).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let mut tasks = JoinSet::new();
    for n in 0..10_000 {
        let locks = locks.clone();
        tasks.spawn(async move {
            let guard = AdvisoryLock::new(n % MANY).acquire(&locks).await.unwrap();
            guard.release().await.unwrap();
        });
    }
    database.wait_until_waiting(3).await;
    assert!(database.backends().await.len() <= before + 4);
    let started = Instant::now();
    drop(held);
    tokio::time::timeout(HANG_TIMEOUT, tasks.join_all())
        .await
        .unwrap();
    println!("10,000 served after {:?}", started.elapsed());
    locks.close().await;
    holder.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn closed_session_releases_all_and_says_so() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    let lock = AdvisoryLock::new(1);
    let waits = lock.acquire(&locks);
    let close = async {
        tokio::task::yield_now().await;
        locks.close().await;
    };
    let (waited, ()) = tokio::join!(waits, close);
    let is_closed = |error: &Error| matches!(error, Error::Database(sqlx::Error::PoolClosed));
    assert!(is_closed(&waited.unwrap_err()));
    assert!(database.advisory_locks().await.is_empty());
    assert!(guard.is_lost());
    guard.lost().await;
    assert!(guard.release().await.unwrap_err().is_lost());
    assert!(is_closed(
        &AdvisoryLock::new(2).acquire(&locks).await.unwrap_err()
    ));
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn last_clone_and_last_guard_close_the_session() {
    let (database, pool) = Database::with_pool(2).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(1).acquire(&locks.clone()).await.unwrap();
    drop(locks);
    assert!(!guard.is_lost());
    assert!(
        AdvisoryLock::new(1)
            .try_acquire(&pool)
            .await
            .unwrap()
            .is_none()
    );
    drop(guard);
    database
        .wait_until_backends("the session is closed", |backends| backends.len() <= before)
        .await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn fencing_tokens_grow() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let mut last = 0;
    for _ in 0..3 {
        let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
        let token = guard.fencing_token().await.unwrap();
        assert!(token > last);
        last = token;
        guard.release().await.unwrap();
    }
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    database.terminate_lockers().await;
    guard.lost().await;
    assert!(guard.fencing_token().await.unwrap_err().is_lost());
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}
