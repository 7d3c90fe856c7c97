//! `at_least`: a session lock stays held for a time, whatever its body takes, and keeps no
//! connection of its pool.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, LockSession, UnsupportedReason, advisory};
use advisory_tests::{Database, another_pool};
use sqlx::PgPool;
use tokio::time::timeout;

const HANG_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the locks of these tests stay held.
const TIME: Duration = Duration::from_millis(600);

fn lock() -> AdvisoryLock {
    AdvisoryLock::new("job").at_least(TIME)
}

/// Waits for the lock from another process. It was held at least as long as it says.
async fn assert_held_since(granted: Instant, pool: &PgPool) {
    let lock = AdvisoryLock::new("job");
    let acquired = timeout(HANG_TIMEOUT, lock.acquire(pool)).await.unwrap();
    let held = granted.elapsed();
    assert!(held >= TIME, "it was free after {held:?}");
    acquired.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_released_or_dropped_early_stays_held() {
    let (database, pool) = Database::with_pool(1).await;
    let other = another_pool(&pool);
    let locks = LockSession::new(&pool);
    for is_dropped in [false, true] {
        let before = Instant::now();
        let guard = lock().acquire(&pool).await.unwrap();
        assert!(before.elapsed() < HANG_TIMEOUT);
        if is_dropped {
            drop(guard);
        } else {
            guard.release().await.unwrap();
        }
        assert_held_since(before, &other).await;

        let before = Instant::now();
        let guard = lock().acquire(&locks).await.unwrap();
        if is_dropped {
            drop(guard);
        } else {
            guard.release().await.unwrap();
        }
        assert_held_since(before, &other).await;
    }
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_lock_that_is_held_longer_is_free_when_it_is_released() {
    let (database, pool) = Database::with_pool(1).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new("job").at_least(Duration::from_millis(1));
    let (one, two) = (
        lock.acquire(&pool).await.unwrap(),
        AdvisoryLock::new("other"),
    );
    let two = two
        .at_least(Duration::from_millis(1))
        .acquire(&locks)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    one.release().await.unwrap();
    two.release().await.unwrap();
    assert_eq!(database.advisory_locks().await, []);
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn no_connection_of_the_pool_is_kept() {
    let (database, pool) = Database::with_pool(1).await;
    let locks = LockSession::new(&pool);
    let lock = |key: i64| AdvisoryLock::new(key).at_least(Duration::from_secs(3));
    let guard = lock(1).acquire(&pool).await.unwrap();
    // Neither while it is held, nor while it is kept.
    sqlx::query("SELECT 1").execute(&pool).await.unwrap();
    guard.release().await.unwrap();
    lock(2)
        .acquire(&locks)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    // A connection that was used returns to the pool in the background.
    let returned = async {
        while pool.num_idle() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(HANG_TIMEOUT, returned).await.unwrap();
    let mut conn = pool.try_acquire().expect("the pool has its connection");
    sqlx::query("SELECT 1").execute(&mut *conn).await.unwrap();
    database.wait_until_held(2).await;
    drop(conn);
    database.assert_nothing_leaked(&pool).await;
    locks.close().await;
}

#[tokio::test]
async fn a_kept_lock_needs_no_handle_of_its_session() {
    let (database, pool) = Database::with_pool(1).await;
    let locks = LockSession::new(&pool);
    let before = Instant::now();
    let guard = lock().acquire(&locks).await.unwrap();
    drop((guard, locks));
    assert_held_since(before, &pool).await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_next_task_of_this_process_waits_as_well() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let before = Instant::now();
    let first = lock().acquire(&locks).await.unwrap();
    first.release().await.unwrap();
    let second = AdvisoryLock::new("job");
    let second = timeout(HANG_TIMEOUT, second.acquire(&locks)).await.unwrap();
    assert!(before.elapsed() >= TIME);
    second.unwrap().release().await.unwrap();
    assert!(
        AdvisoryLock::new("job")
            .try_acquire(&pool)
            .await
            .unwrap()
            .is_some()
    );
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_release_of_a_lost_lock_reports_the_loss() {
    let (database, pool) = Database::with_pool(1).await;
    let locks = LockSession::new(&pool);
    let on_pool = lock().acquire(&pool).await.unwrap();
    let other = AdvisoryLock::new("other").at_least(TIME);
    let on_session = other.acquire(&locks).await.unwrap();
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
    timeout(HANG_TIMEOUT, async {
        on_pool.lost().await;
        on_session.lost().await;
    })
    .await
    .unwrap();
    assert!(on_pool.release().await.unwrap_err().is_lost());
    assert!(on_session.release().await.unwrap_err().is_lost());
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[test]
fn a_runtime_that_ends_frees_the_lock_early() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let observer = runtime();
    let (database, url) = observer.block_on(async {
        let database = Database::new().await;
        let url = database.url();
        (database, url)
    });
    let keep = AdvisoryLock::new("job").at_least(Duration::from_hours(1));
    let ends = runtime();
    let outside = ends.block_on(async {
        let pool = PgPool::connect(&url).await.unwrap();
        keep.acquire(&pool).await.unwrap().release().await.unwrap();
        let other = AdvisoryLock::new("other").at_least(Duration::from_hours(1));
        let locks = LockSession::new(&pool);
        let on_session = AdvisoryLock::new("third").at_least(Duration::from_hours(1));
        drop(on_session.acquire(&locks).await.unwrap());
        let outside = other.acquire(&pool).await.unwrap();
        database.wait_until_held(3).await;
        outside
    });
    // Dropped outside a runtime.
    drop(outside);
    observer.block_on(database.wait_until_held(2));
    drop(ends);
    observer.block_on(database.wait_until_held(0));
}

#[tokio::test]
async fn a_transaction_lock_refuses_it_with_the_reason() {
    let (database, pool) = Database::with_pool(1).await;
    let mut tx = pool.begin().await.unwrap();
    let errors = [
        lock().acquire_xact(&mut tx).await.unwrap_err(),
        lock().begin(&pool).await.unwrap_err(),
        lock()
            .lead(&pool, async |_| Ok::<_, Error>(()))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(
            error
                .to_string()
                .starts_with("`at_least` has no effect here"),
            "{error}"
        );
        assert!(matches!(
            error,
            Error::Unsupported {
                reason: UnsupportedReason::UnusedSetting { .. },
                ..
            }
        ));
    }
    tx.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = "job", scope = session, timeout = 0, side_effect = Skip, at_least = 0.6)]
async fn short_job(pool: &PgPool) -> Result<Option<u32>, Error> {
    let _ = pool;
    Ok(Some(7))
}

#[tokio::test]
async fn a_function_that_is_started_twice_runs_once() {
    let (database, pool) = Database::with_pool(1).await;
    let other = another_pool(&pool);
    let before = Instant::now();
    assert_eq!(short_job(&pool).await.unwrap(), Some(7));
    let second = short_job(&other).await.unwrap();
    // A busy machine may take longer than the lock is kept.
    assert!(second.is_none() || before.elapsed() >= TIME);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_permit_stays_held_as_well() {
    let (database, pool) = Database::with_pool(2).await;
    let other = another_pool(&pool);
    let locks = LockSession::new(&pool);
    let job = AdvisoryLock::new("job").permits(2);
    let kept = job.clone().at_least(TIME);
    let before = Instant::now();
    kept.acquire(&pool).await.unwrap().release().await.unwrap();
    drop(kept.acquire(&locks).await.unwrap());
    let is_refused = job.try_begin(&other).await.unwrap().is_none();
    assert!(is_refused || before.elapsed() >= TIME);
    let granted = timeout(HANG_TIMEOUT, job.acquire(&other)).await.unwrap();
    let held = before.elapsed();
    assert!(held >= TIME, "a permit was free after {held:?}");
    granted.unwrap().release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}
