//! A `LockSession` that nobody uses.

use std::time::Duration;

use advisory_core::{AdvisoryLock, LockSession};
use advisory_tests::{Database, Depth};
use tokio::time::sleep;

/// A session closes that nobody has used for so long.
const IDLE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_idle_lock_session_closes_after_a_minute_and_opens_again() {
    if Depth::of_run() == Depth::Short {
        println!("skipped in short depth: it takes a minute");
        return;
    }
    let (database, pool) = Database::with_pool(2).await;
    let before = database.backends().await.len();
    let (locks, lock) = (LockSession::new(&pool), AdvisoryLock::new(1));
    lock.acquire(&locks).await.unwrap().release().await.unwrap();
    assert_eq!(database.backends().await.len(), before + 1);
    sleep(IDLE).await;
    database
        .wait_until_backends("the session is closed", |backends| backends.len() == before)
        .await;
    let guard = lock.acquire(&locks).await.unwrap();
    assert_eq!(database.backends().await.len(), before + 1);
    guard.release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}
