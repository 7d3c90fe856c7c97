//! Session locks: taken, released, nested and dropped.

use std::pin::pin;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key, SessionGuard, release_leftover_locks};
use advisory_tests::{Database, by_our_clock, drop_when, is_ever, scalar};
use advisory_verbs::{Refusal, Verb};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgPool, Row as _};

fn locks() -> [AdvisoryLock; 3] {
    [
        AdvisoryLock::new("one"),
        AdvisoryLock::new((1, -7)),
        AdvisoryLock::all([Key::from(1), Key::from(2), Key::from((7, 7))]),
    ]
}

async fn setting(pool: &PgPool, name: &str) -> String {
    let show = format!("SHOW {name}");
    pool.fetch_one(sqlx::AssertSqlSafe(show))
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn timeout_is_a_refusal_that_names_the_holder_in_every_verb() {
    let (database, pool) = Database::with_pool(2).await;
    for lock in locks() {
        let held = lock.acquire(&pool).await.unwrap();
        for limit in [Duration::ZERO, Duration::from_millis(30)] {
            let lock = lock.clone().timeout(limit);
            for verb in Verb::all(Verb::is_of_lock) {
                // A busy machine does not lend a connection or find the holder in time.
                let names_the_holder = async || {
                    let started = Instant::now();
                    let outcome = verb.ask(&lock, &pool).await;
                    // The timeout ends the wait, and not that of the server or of the pool.
                    let took = started.elapsed();
                    let is_in_time = took >= by_our_clock(limit) && took < Duration::from_secs(20);
                    assert!(is_in_time, "{verb}: {took:?}");
                    match (verb.refusal(), outcome) {
                        (Refusal::Report, Ok(false)) => true,
                        (
                            Refusal::Error,
                            Err(Error::NotAcquired {
                                waited, holders, ..
                            }),
                        ) => {
                            assert!(waited >= by_our_clock(limit), "{verb}: {waited:?}");
                            holders.len() == 1
                        }
                        (_, Err(Error::Database(sqlx::Error::PoolTimedOut))) => false,
                        (_, outcome) => panic!("{verb}: {outcome:?}"),
                    }
                };
                assert!(is_ever(names_the_holder).await, "{verb}");
            }
        }
        held.release().await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn statements_run_on_the_session_that_holds_the_lock() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    let conn = guard.connection().await.unwrap();
    let pid: i32 = scalar(&mut *conn, "SELECT pg_backend_pid()").await;
    assert_eq!(database.advisory_locks().await[0].pid, pid);
    let mut tx = conn.begin().await.unwrap();
    tx.execute("CREATE TABLE t ()").await.unwrap();
    tx.commit().await.unwrap();
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn settings_of_the_session_are_restored() {
    let (_database, pool) = Database::with_pool(1).await;
    pool.execute("SET idle_session_timeout = '7min'; SET client_connection_check_interval = '9s'; SET lock_timeout = '3s'")
        .await
        .unwrap();
    for lock in locks() {
        for lock in [lock.clone(), lock.timeout(Duration::from_secs(5))] {
            has_the_settings_of_a_holder(lock.acquire(&pool).await.unwrap()).await;
            has_the_settings_of_a_holder(lock.try_acquire(&pool).await.unwrap().unwrap()).await;
            for (name, value) in [
                ("idle_session_timeout", "7min"),
                ("client_connection_check_interval", "9s"),
                ("lock_timeout", "3s"),
            ] {
                assert_eq!(setting(&pool, name).await, value, "{name}");
            }
        }
    }
}

async fn has_the_settings_of_a_holder(mut guard: SessionGuard) {
    let conn = guard.connection().await.unwrap();
    for (name, value) in [
        ("idle_session_timeout", "0"),
        ("client_connection_check_interval", "500ms"),
        ("lock_timeout", "3s"),
    ] {
        let row = conn
            .fetch_one(sqlx::AssertSqlSafe(format!("SHOW {name}")))
            .await
            .unwrap();
        assert_eq!(row.get::<String, _>(0), value, "{name}");
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn same_key_twice_on_one_session_is_counted() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    advisory_core::lock(guard.connection().await.unwrap(), "one")
        .await
        .unwrap();
    assert!(
        advisory_core::unlock(guard.connection().await.unwrap(), "one")
            .await
            .unwrap()
    );
    assert_eq!(database.advisory_locks().await.len(), 1);
    // Another guard has another session, and has to wait.
    let refused = AdvisoryLock::new("one").try_acquire(&pool).await;
    assert!(refused.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(database.advisory_locks().await.is_empty());
}

#[tokio::test]
async fn session_lock_and_a_transaction_lock_nest_both_ways() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("one");
    // A transaction lock in the session that holds the key is granted, and the session lock remains
    // after the transaction.
    let mut guard = lock.acquire(&pool).await.unwrap();
    let mut tx = guard.connection().await.unwrap().begin().await.unwrap();
    lock.acquire_xact(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(database.advisory_locks().await.len(), 1);
    guard.release().await.unwrap();
    assert!(database.advisory_locks().await.is_empty());

    // A session lock for a key that our own transaction holds is one of another session, and has to
    // wait.
    let tx = lock.begin(&pool).await.unwrap();
    let refused = lock.try_acquire(&pool).await;
    assert!(refused.unwrap().is_none());
    tx.commit().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn lock_released_in_an_open_transaction_is_free_at_once() {
    let database = Database::new().await;
    let (pool, other) = (database.pool(1).await, database.pool(1).await);
    let lock = AdvisoryLock::new("one");
    for statement in ["BEGIN", "BEGIN; SELECT 1/0"] {
        for _ in 0..20 {
            let mut guard = lock.acquire(&pool).await.unwrap();
            let _ = guard.connection().await.unwrap().execute(statement).await;
            guard.release().await.unwrap();
            let free = lock.try_acquire(&other).await.unwrap();
            free.expect("free as soon as it is released")
                .release()
                .await
                .unwrap();
        }
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn lock_released_without_its_guard_is_lost() {
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("one");
    let Key::BigInt(number) = lock.keys()[0] else {
        unreachable!("BUG: a name is a bigint")
    };
    for statement in [
        "DISCARD ALL",
        "SELECT pg_advisory_unlock_all()",
        &format!("SELECT pg_advisory_unlock({number})"),
    ] {
        let mut guard = lock.acquire(&pool).await.unwrap();
        let conn = guard.connection().await.unwrap();
        conn.execute(sqlx::AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap();
        // The release of a lost guard does not release the lock of another session.
        let other = lock.try_acquire(&pool).await.unwrap().unwrap();
        assert!(guard.release().await.unwrap_err().is_lost());
        assert_eq!(database.advisory_locks().await.len(), 1);
        other.release().await.unwrap();
    }
    // A reset of settings alone does not lose the lock.
    let mut guard = lock.acquire(&pool).await.unwrap();
    let conn = guard.connection().await.unwrap();
    conn.execute("RESET ALL").await.unwrap();
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn dropped_guard_releases_its_lock() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("one");
    // The release is sent at once: the server would notice a closed connection after up to 500 ms.
    let is_quick = async || {
        drop(lock.acquire(&pool).await.unwrap());
        let waited = Instant::now();
        lock.acquire(&pool).await.unwrap().release().await.unwrap();
        waited.elapsed() < Duration::from_millis(200)
    };
    assert!(is_ever(is_quick).await);

    // Dropped while a statement runs.
    let mut guard = lock.acquire(&pool).await.unwrap();
    let conn = guard.connection().await.unwrap();
    let sleep = conn.execute("SELECT pg_sleep(600)");
    drop_when(database.wait_until_asleep(), sleep).await;
    drop(guard);
    database.assert_nothing_leaked(&pool).await;
}

#[test]
fn guard_dropped_outside_a_runtime_releases_its_lock() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, pool) = runtime.block_on(async {
        let (database, pool) = Database::with_pool(2).await;
        (database, pool)
    });
    let lock = AdvisoryLock::new("one");
    let is_quick = async || {
        let guard = runtime.block_on(lock.acquire(&pool)).unwrap();
        assert!(!guard.is_lost());
        drop(guard);
        let waited = Instant::now();
        let again = runtime.block_on(lock.acquire(&pool)).unwrap();
        runtime.block_on(again.release()).unwrap();
        waited.elapsed() < Duration::from_millis(200)
    };
    assert!(futures_util::future::FutureExt::now_or_never(is_ever(is_quick)).unwrap());
    runtime.block_on(database.assert_nothing_leaked(&pool));
}

#[tokio::test]
async fn closing_pool_waits_for_its_guards() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    let closing = pool.close();
    let mut closing = pin!(closing);
    assert!(futures_util::poll!(closing.as_mut()).is_pending());
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
    closing.await;
    database
        .wait_until_backends("no backend", <[_]>::is_empty)
        .await;
}

#[tokio::test]
async fn polling_gets_the_lock_and_keeps_its_deadline() {
    let (database, pool) = Database::with_pool(4).await;
    let polling = |lock: AdvisoryLock| lock.polling(Duration::from_millis(10));
    for lock in locks() {
        let held = lock.acquire(&pool).await.unwrap();
        let limit = Duration::from_millis(100);
        let refused = polling(lock.clone()).timeout(limit);
        let started = Instant::now();
        assert!(refused.acquire(&pool).await.unwrap_err().is_not_acquired());
        let begun = refused.try_begin(&pool).await;
        assert!(begun.unwrap().is_none());
        let mut tx = pool.begin().await.unwrap();
        assert!(!refused.try_acquire_xact(&mut tx).await.unwrap());
        tx.rollback().await.unwrap();
        assert!(started.elapsed() >= limit * 3, "{:?}", started.elapsed());
        assert!(
            database
                .advisory_locks()
                .await
                .iter()
                .all(|lock| lock.granted),
            "nobody is in the queue"
        );

        let waiting = polling(lock.clone());
        let (guard, ()) = tokio::join!(waiting.acquire(&pool), async {
            tokio::time::sleep(limit).await;
            held.release().await.unwrap();
        });
        guard.unwrap().release().await.unwrap();
        waiting.begin(&pool).await.unwrap().commit().await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

/// A waiter in the queue holds a snapshot, and a polling waiter does not.
#[tokio::test]
async fn polling_holds_no_snapshot() {
    let (_database, pool) = Database::with_pool(4).await;
    pool.execute("CREATE TABLE t (n int)").await.unwrap();
    let lock = AdvisoryLock::new("one");
    let held = lock.acquire(&pool).await.unwrap();
    let waiter = tokio::spawn({
        let (lock, pool) = (lock.clone().polling(Duration::from_millis(5)), pool.clone());
        async move { lock.acquire(&pool).await.unwrap().release().await.unwrap() }
    });
    // With a waiter in the queue, this would never return: it waits for the snapshot of the waiter,
    // which waits for `held`.
    pool.execute("CREATE INDEX CONCURRENTLY i ON t (n)")
        .await
        .unwrap();
    held.release().await.unwrap();
    waiter.await.unwrap();
}

#[tokio::test]
async fn locks_left_on_a_pooled_connection_are_released() {
    let database = Database::new().await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_release(release_leftover_locks)
        .connect_with(database.options())
        .await
        .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    advisory_core::lock(&mut conn, 1).await.unwrap();
    advisory_core::lock_shared(&mut conn, (1, 2)).await.unwrap();
    drop(conn);
    database.assert_nothing_leaked(&pool).await;

    let mut conn = pool.acquire().await.unwrap();
    let before: i32 = scalar(&mut *conn, "SELECT pg_backend_pid()").await;
    conn.execute("BEGIN; SELECT pg_advisory_xact_lock(3)")
        .await
        .unwrap();
    drop(conn);
    database.assert_nothing_leaked(&pool).await;
    let after: i32 = scalar(&pool, "SELECT pg_backend_pid()").await;
    assert_ne!(before, after, "a connection inside a transaction went back");
    // A clean connection is not changed.
    let still: i32 = scalar(&pool, "SELECT pg_backend_pid()").await;
    assert_eq!(after, still);
}

/// The probe for a pooler compares what its own connections say with what the pool's do.
#[tokio::test]
async fn settings_of_the_pool_do_not_look_like_another_server() {
    let database = Database::new().await;
    let settings = "SET extra_float_digits = -3; SET DateStyle TO 'SQL, DMY'; SET TIME ZONE 5";
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.after_connect(move |conn, _| {
        Box::pin(async move { conn.execute(settings).await.map(drop) })
    });
    let pool = pool.connect_with(database.options()).await.unwrap();
    let guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
