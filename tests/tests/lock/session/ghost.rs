//! No ghost grants: a wait that has timed out holds no lock, also if the grant came at the same
//! time.
//!
//! A session lock may be granted although its `lock_timeout` expires. Each load runs against this
//! crate, and against code that takes the error `55P03` for "not acquired", which shows that the
//! load causes such grants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Database, by_depth, is_ever};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

const WORKERS: u64 = 8;
const ROUNDS: u64 = 10;
const HOT: i64 = 7;

/// A timeout of 1 to 5 ms, mostly short.
fn limit() -> Duration {
    Duration::from_millis(fastrand::u64(1..=5).min(fastrand::u64(1..=5)))
}

/// Holds the lock until about the timeouts of the waiters.
async fn hold() {
    sleep(Duration::from_micros(fastrand::u64(500..6_000))).await;
}

async fn worker(pool: PgPool, timeouts: Arc<AtomicU64>, end: u64) {
    while timeouts.load(Ordering::Relaxed) < end {
        let lock = AdvisoryLock::new(HOT).timeout(limit());
        match lock.try_acquire(&pool).await {
            Ok(Some(guard)) => {
                hold().await;
                guard.release().await.unwrap();
            }
            Ok(None) => {
                timeouts.fetch_add(1, Ordering::Relaxed);
            }
            // On a busy machine, the connection of the last guard may not have returned to the pool
            // yet.
            Err(Error::Database(sqlx::Error::PoolTimedOut)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timed_out_waits_leave_no_lock() {
    let wanted = by_depth(4_000, 300_000);
    let database = Database::new().await;
    let pools = futures_util::future::join_all((0..WORKERS).map(|_| database.pool(1))).await;
    let timeouts = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    for round in 1..=ROUNDS {
        let mut workers = JoinSet::new();
        for pool in &pools {
            workers.spawn(worker(
                pool.clone(),
                timeouts.clone(),
                wanted * round / ROUNDS,
            ));
        }
        workers.join_all().await;
        // There are no guards now, so a held lock is a leak, and remains on its pooled connection.
        // But a busy server may report a timeout a moment before it releases a lock that was
        // granted in spite of it.
        database
            .wait_until_locks(&format!("none leaked in round {round}"), <[_]>::is_empty)
            .await;
    }
    let seen = timeouts.load(Ordering::Relaxed);
    println!("{seen} timeouts in {:.0?}, 0 leaked", started.elapsed());
    for pool in &pools {
        database.assert_nothing_leaked(pool).await;
    }
}

/// The usual code: it sets `lock_timeout` for the session, and takes its error for "not acquired".
async fn naive_try_lock(conn: &mut PgConnection, key: i64, limit: Duration) -> bool {
    let set = format!("SET lock_timeout = {}", limit.as_millis());
    conn.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
    match lock.execute(conn).await {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => false,
        Err(error) => panic!("{error}"),
    }
}

async fn holds(conn: &mut PgConnection) -> bool {
    let mine = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid())";
    sqlx::query_scalar(mine).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_load_with_naive_code_leaks() {
    let database = Database::new().await;
    let (timeouts, leaked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (mut conn, timeouts, leaked) = (
            database.connection().await,
            timeouts.clone(),
            leaked.clone(),
        );
        workers.spawn(async move {
            // Usually a lock leaks within the first thousand timeouts. The limit makes the test
            // fail if none does.
            while leaked.load(Ordering::Relaxed) < 20 && timeouts.load(Ordering::Relaxed) < 200_000
            {
                if naive_try_lock(&mut conn, HOT, limit()).await {
                    hold().await;
                } else {
                    timeouts.fetch_add(1, Ordering::Relaxed);
                    leaked.fetch_add(u64::from(holds(&mut conn).await), Ordering::Relaxed);
                }
                advisory_core::unlock_all(&mut conn).await.unwrap();
            }
        });
    }
    workers.join_all().await;
    let (timeouts, leaked) = (
        timeouts.load(Ordering::Relaxed),
        leaked.load(Ordering::Relaxed),
    );
    println!("naive: {timeouts} timeouts, {leaked} leaked");
    assert!(leaked > 0, "the load causes no such grant");
}

/// How often the holder of [`release_at_the_timeout`] releases.
fn times() -> u64 {
    by_depth(400, 1000)
}

/// The holder releases within a few milliseconds of the timeout of the waiter, many times on twenty
/// keys. On a busy machine, the wait and its timeout begin late.
async fn release_at_the_timeout<F>(
    database: &Database,
    attempt: impl Fn(i64, Duration) -> F + Clone + Send + Sync + 'static,
) -> u64
where
    F: Future<Output = u64> + Send,
{
    const KEYS: i64 = 20;
    let limit = Duration::from_millis(100);
    let mut workers = JoinSet::new();
    for key in 0..KEYS {
        let (mut holder, attempt) = (database.connection().await, attempt.clone());
        workers.spawn(async move {
            let mut leaked = 0;
            for _ in 0..times() / KEYS.unsigned_abs() {
                advisory_core::lock(&mut holder, key).await.unwrap();
                let release = tokio::time::Instant::now() + limit - Duration::from_millis(1)
                    + Duration::from_micros(fastrand::u64(..2_500) << fastrand::u8(..5));
                let release_lock = async {
                    sleep_until(release).await;
                    advisory_core::unlock(&mut holder, key).await.unwrap();
                };
                let (found, ()) = tokio::join!(attempt(key, limit), release_lock);
                leaked += found;
            }
            holder.close().await.unwrap();
            leaked
        });
    }
    workers.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_at_the_timeout_is_a_guard_or_nothing() {
    let (database, pool) = Database::with_pool(20).await;
    let causes_such_grants = async || {
        let taking = pool.clone();
        let taken = release_at_the_timeout(&database, move |key, limit| {
            let pool = taking.clone();
            async move {
                let lock = AdvisoryLock::new(key).timeout(limit);
                match lock.try_acquire(&pool).await {
                    Ok(Some(guard)) => {
                        guard.release().await.unwrap();
                        1
                    }
                    // On a busy machine, the pool may not have a connection in time.
                    Ok(None) | Err(Error::Database(sqlx::Error::PoolTimedOut)) => 0,
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
        let taken = taken.await;
        let refused = times() - taken;
        println!(
            "{} grants at the last moment: {taken} taken, {refused} refused, 0 leaked",
            times()
        );
        let leaked = database.advisory_locks().await;
        assert!(leaked.is_empty(), "{leaked:?}");
        taken > 0 && refused > 0
    };
    assert!(is_ever(causes_such_grants).await);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_at_the_timeout_leak_with_naive_code() {
    let database = Database::new().await;
    let pool = database.pool(20).await;
    let leaks = async || {
        let waiting = pool.clone();
        let leaked = release_at_the_timeout(&database, move |key, limit| {
            let pool = waiting.clone();
            async move {
                let mut conn = pool.acquire().await.unwrap();
                let leaked = !naive_try_lock(&mut conn, key, limit).await && holds(&mut conn).await;
                advisory_core::unlock_all(&mut conn).await.unwrap();
                u64::from(leaked)
            }
        });
        let leaked = leaked.await;
        println!(
            "naive: {} grants at the last moment, {leaked} leaked",
            times()
        );
        leaked > 0
    };
    assert!(is_ever(leaks).await, "the load causes no such grant");
}
