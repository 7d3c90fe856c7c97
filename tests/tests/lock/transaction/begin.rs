//! Locks with a transaction of their own.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Isolation};
use advisory_tests::{Database, is_ever, scalar};
use sqlx::{Executor as _, Row as _};

fn locks() -> [AdvisoryLock; 2] {
    [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])]
}

#[tokio::test]
async fn settings_of_the_session_are_not_changed() {
    let (_database, pool) = Database::with_pool(1).await;
    pool.execute("SET lock_timeout = '90s'").await.unwrap();
    for lock in locks() {
        for lock in [
            lock.clone(),
            lock.clone().timeout(Duration::from_secs(5)),
            lock.wait_forever(),
        ] {
            let mut tx = lock.begin(&pool).await.unwrap();
            let inside: String = scalar(&mut *tx, "SHOW lock_timeout").await;
            tx.commit().await.unwrap();
            let after = scalar(&pool, "SHOW lock_timeout").await;
            let interval = scalar(&pool, "SHOW client_connection_check_interval").await;
            assert_eq!([inside, after, interval], ["90s", "90s", "0"]);
        }
    }
}

#[tokio::test]
async fn read_only_session_takes_locks_and_stays_read_only() {
    let (_database, pool) = Database::with_pool(1).await;
    pool.execute("SET default_transaction_read_only = on")
        .await
        .unwrap();
    let isolated = AdvisoryLock::new("one").isolation(Isolation::Serializable);
    for lock in locks().into_iter().chain([isolated]) {
        for tries in [false, true] {
            let mut tx = if tries {
                lock.try_begin(&pool).await.unwrap().unwrap()
            } else {
                lock.begin(&pool).await.unwrap()
            };
            let row = tx.fetch_one("SHOW transaction_read_only").await.unwrap();
            assert_eq!(row.get::<&str, _>(0), "on");
            tx.rollback().await.unwrap();
        }
        let mut guard = AdvisoryLock::from(lock.id()).acquire(&pool).await.unwrap();
        let session = guard.connection().await.unwrap();
        let row = session
            .fetch_one("SHOW default_transaction_read_only")
            .await
            .unwrap();
        assert_eq!(row.get::<&str, _>(0), "on");
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn wait_for_a_connection_counts_against_the_timeout() {
    let (_database, pool) = Database::with_pool(2).await;
    let limit = Duration::from_secs(1);
    let lock = AdvisoryLock::new("one").timeout(limit);
    let _held = lock.begin(&pool).await.unwrap();
    let is_in_time = async || {
        let taken = pool.acquire().await.unwrap();
        let started = Instant::now();
        let free_the_connection = async {
            tokio::time::sleep(limit * 3 / 4).await;
            drop(taken);
        };
        let (refused, ()) = tokio::join!(lock.try_begin(&pool), free_the_connection);
        assert!(refused.unwrap().is_none());
        started.elapsed() < limit * 7 / 4
    };
    // Otherwise the wait for the lock has the whole timeout again.
    assert!(is_ever(is_in_time).await);
}
