//! No ghost grants: a wait that timed out holds nothing, whenever the grant came.
//!
//! A session lock whose `lock_timeout` fires may have been granted all the same. Each load runs against this library and
//! against the code that is usually written (`55P03` means "not acquired"), so that the load itself is seen to bite.
//!
//! `ADVISORY_GHOST_TIMEOUTS` sets how many timeouts there are, 300,000 if not set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

const WORKERS: u64 = 8;
const ROUNDS: u64 = 10;
const HOT: i64 = 7;

/// A wait of 1 to 5 ms, mostly short ones.
fn limit() -> Duration {
    Duration::from_millis(fastrand::u64(1..=5).min(fastrand::u64(1..=5)))
}

/// A hold that ends around the timeouts of those who wait.
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
            // A busy machine takes its time to give the connection of the last guard back.
            Err(Error::Database(sqlx::Error::PoolTimedOut)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_timeout_leaves_a_lock_behind() {
    let wanted = std::env::var("ADVISORY_GHOST_TIMEOUTS").map_or(300_000, |n| n.parse().unwrap());
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
        // Nobody has a guard now: what is held is a leak, and stays held on its pooled connection. But a server that is busy
        // tells of a timeout a moment before it frees what the wait was granted all the same.
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

/// What is usually written: a `lock_timeout` of the session, and its error means "not acquired".
async fn naive_try_lock(conn: &mut PgConnection, key: i64, limit: Duration) -> bool {
    let set = format!("SET lock_timeout = {}", limit.as_millis());
    conn.execute(sqlx::AssertSqlSafe(set)).await.unwrap();
    match sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(key)
        .execute(conn)
        .await
    {
        Ok(_) => true,
        Err(error)
            if error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|c| c == "55P03") =>
        {
            false
        }
        Err(error) => panic!("{error}"),
    }
}

async fn holds(conn: &mut PgConnection) -> bool {
    let mine = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid())";
    sqlx::query_scalar(mine).fetch_one(conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_load_on_naive_code_leaks() {
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
            // It bites within the first thousand as a rule; the cap is there to fail instead of running on.
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
    assert!(leaked > 0, "the load does not bite");
}

/// The holder lets go within a millisecond of the other one's timeout, a thousand times on twenty keys.
async fn at_the_last_moment<F>(
    database: &Database,
    attempt: impl Fn(i64, Duration) -> F + Clone + Send + Sync + 'static,
) -> u64
where
    F: Future<Output = u64> + Send,
{
    const LANES: i64 = 20;
    const TIMES: u64 = 1000;
    let limit = Duration::from_millis(100);
    let mut lanes = JoinSet::new();
    for key in 0..LANES {
        let (mut holder, attempt) = (database.connection().await, attempt.clone());
        lanes.spawn(async move {
            let mut leaked = 0;
            for _ in 0..TIMES / LANES.unsigned_abs() {
                advisory_core::lock(&mut holder, key).await.unwrap();
                let release = tokio::time::Instant::now() + limit - Duration::from_millis(1)
                    + Duration::from_micros(fastrand::u64(..2_000));
                let let_go = async {
                    sleep_until(release).await;
                    advisory_core::unlock(&mut holder, key).await.unwrap();
                };
                let (found, ()) = tokio::join!(attempt(key, limit), let_go);
                leaked += found;
            }
            holder.close().await.unwrap();
            leaked
        });
    }
    lanes.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_at_the_last_moment_is_a_guard_or_nothing() {
    let database = Database::new().await;
    let pool = database.pool(20).await;
    let taking = pool.clone();
    let taken = at_the_last_moment(&database, move |key, limit| {
        let pool = taking.clone();
        async move {
            let guard = AdvisoryLock::new(key)
                .timeout(limit)
                .try_acquire(&pool)
                .await
                .unwrap();
            let taken = u64::from(guard.is_some());
            if let Some(guard) = guard {
                guard.release().await.unwrap();
            }
            taken
        }
    });
    let taken = taken.await;
    println!(
        "1000 grants at the last moment: {taken} taken, {} refused, 0 leaked",
        1000 - taken
    );
    let leaked = database.advisory_locks().await;
    assert!(leaked.is_empty(), "{leaked:?}");
    assert!(
        taken > 0 && taken < 1000,
        "the load does not bite: {taken} of 1000 taken"
    );
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_last_moments_on_naive_code_leak() {
    let database = Database::new().await;
    let options = Arc::new(database.options());
    let leaked = at_the_last_moment(&database, move |key, limit| {
        let options = options.clone();
        async move {
            let mut conn = PgConnection::connect_with(&options).await.unwrap();
            let leaked = !naive_try_lock(&mut conn, key, limit).await && holds(&mut conn).await;
            conn.close().await.unwrap();
            u64::from(leaked)
        }
    });
    let leaked = leaked.await;
    println!("naive: 1000 grants at the last moment, {leaked} leaked");
    assert!(leaked > 0, "the load does not bite");
}
