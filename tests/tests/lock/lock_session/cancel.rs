//! An administrator cancels statements of a session. Cancels are limited to the test's database.

use std::time::Duration;

use advisory_core::{AdvisoryLock, LockSession};
use advisory_tests::{Database, another_pool, by_depth, scalar};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{acquire_each, assert_closes, ends, open, through_proxy};

/// Runs a statement that cancels, again and again.
async fn cancel_with(database: &Database, cancel: &str) -> ! {
    let mut conn = database.connection().await;
    loop {
        conn.execute(AssertSqlSafe(cancel.to_owned()))
            .await
            .unwrap();
        sleep(Duration::from_micros(fastrand::u64(0..2_000))).await;
    }
}

#[tokio::test]
async fn cancelled_message_is_sent_again() {
    let (database, pool, locks) = open(2).await;
    let kept = AdvisoryLock::new(-5).acquire(&locks).await.unwrap();
    let pid = database.advisory_locks().await[0].pid;
    let work = async {
        for _ in 0..by_depth(50, 200) {
            drop(acquire_each(&locks, 0..60).await);
        }
    };
    let cancel = format!("SELECT pg_cancel_backend({pid})");
    tokio::select! {
        never = cancel_with(&database, &cancel) => never,
        () = ends(work) => {}
    }
    // A cancel can reach what undoes a cancelled message, which ends the session.
    if !kept.is_lost() {
        kept.release().await.unwrap();
    }
    assert_closes(&locks, &database, &pool).await;
}

async fn count_under_lock(n: i64, locks: &LockSession, pool: &PgPool, rounds: i64) {
    for round in 0..rounds {
        let key = (n + round) % 3;
        let lock = match round % 4 {
            0 => AdvisoryLock::all([0, 1, 2]),
            _ => AdvisoryLock::new(key),
        };
        let guard = lock.acquire(locks).await.unwrap();
        let read = sqlx::query_scalar::<_, i64>("SELECT n FROM counter WHERE k = $1");
        let number = read.bind(key).fetch_one(pool).await.unwrap();
        tokio::task::yield_now().await;
        let write = sqlx::query("UPDATE counter SET n = $1 WHERE k = $2");
        let write = write.bind(number + 1).bind(key);
        write.execute(pool).await.unwrap();
        drop(guard);
    }
}

#[tokio::test]
async fn cancelled_statements_never_give_a_lock_to_two() {
    let (database, pool) = Database::with_pool(8).await;
    database
        .execute("CREATE TABLE counter AS SELECT k, 0::bigint AS n FROM generate_series(0, 2) k")
        .await;
    let sessions = [&pool, &another_pool(&pool)].map(LockSession::new);
    let rounds = by_depth(12, 50);
    let mut tasks = JoinSet::new();
    for n in 0..12 {
        let (locks, pool) = (sessions[usize::from(n % 2 == 0)].clone(), pool.clone());
        tasks.spawn(async move { count_under_lock(n, &locks, &pool, rounds).await });
    }
    let cancel = "SELECT pg_cancel_backend(l.pid) \
                  FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                  WHERE l.locktype = 'advisory' AND d.datname = current_database() \
                  AND random() < 0.3";
    tokio::select! {
        never = cancel_with(&database, cancel) => never,
        _ = ends(tasks.join_all()) => {}
    }
    let total: i64 = scalar(&pool, "SELECT sum(n)::bigint FROM counter").await;
    assert_eq!(total, 12 * rounds);
    for locks in sessions {
        assert_closes(&locks, &database, &pool).await;
    }
}

/// The first lock on a pool is looked up on the server, which a cancel can end. `when` is a
/// condition on the session.
async fn acquire_while_looks_are_cancelled(when: &str, rounds: u32) {
    let (database, proxy, _pool) = through_proxy().await;
    let cancel = format!(
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
         WHERE pid <> pg_backend_pid() AND datname = current_database() \
         AND {when} AND query LIKE '%pg_lock_status%'"
    );
    let mut conn = database.connection().await;
    for _ in 0..rounds {
        let pool = proxy.pool(1).await;
        let locks = LockSession::new(&pool);
        let lock = AdvisoryLock::new(1);
        let cancels = async {
            loop {
                conn.execute(AssertSqlSafe(cancel.clone())).await.unwrap();
            }
        };
        let granted = tokio::select! {
            granted = ends(lock.acquire(&locks)) => granted,
            () = cancels => unreachable!("it never ends"),
        };
        drop(granted.unwrap());
        assert_closes(&locks, &database, &pool).await;
    }
}

#[tokio::test]
async fn cancel_during_the_first_grant_of_a_pool_is_no_error() {
    acquire_while_looks_are_cancelled("state = 'active'", by_depth(5, 20)).await;
}

/// A cancel that comes too late for the look ends what the session does next.
#[tokio::test]
async fn cancel_after_a_look_of_the_first_grant_of_a_pool_is_no_error() {
    acquire_while_looks_are_cancelled("true", by_depth(10, 40)).await;
}
