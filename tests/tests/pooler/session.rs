//! Session locks: refused in transaction mode, in which they would remain with a backend of the
//! pooler, and granted in session mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use advisory_core::{AdvisoryLock, Error, UnsupportedReason, advisory};
use advisory_tests::Pooling;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::fixture::{Cache, Fixture, in_time};

#[advisory(key = "one", scope = session)]
async fn job(pool: &PgPool) -> Result<(), Error> {
    panic!("the body ran")
}

#[advisory(key = "one", scope = session, timeout = 0, side_effect = Skip)]
async fn job_that_skips(pool: &PgPool) -> Result<(), Error> {
    panic!("the body ran")
}

fn assert_refused<T>(verb: &str, outcome: Result<T, Error>) {
    match outcome {
        Err(Error::Unsupported { reason, .. }) => {
            assert_eq!(reason, UnsupportedReason::TransactionPooler, "{verb}");
        }
        Err(error) => panic!("{verb}: {error:?}"),
        Ok(_) => panic!("{verb} was not refused"),
    }
}

/// Each verb runs on a new pool, so that it does not use the result of an earlier probe.
async fn assert_all_refused(fixture: &Fixture, cache: Cache, clients: u32) {
    let pool = async || fixture.pool(cache, clients).await;
    let one = AdvisoryLock::new("one");
    let several = AdvisoryLock::all(["one", "two"]);
    in_time(&fixture.database, async {
        assert_refused("acquire", one.acquire(&pool().await).await);
        assert_refused("acquire several", several.acquire(&pool().await).await);
        assert_refused("try_acquire", one.try_acquire(&pool().await).await);
        assert_refused(
            "try_acquire several",
            several.try_acquire(&pool().await).await,
        );
        assert_refused("the attribute", job(&pool().await).await);
        assert_refused(
            "the attribute that skips",
            job_that_skips(&pool().await).await,
        );
        let again = pool().await;
        for verb in ["once", "twice", "three times"] {
            assert_refused(verb, one.acquire(&again).await);
        }
        fixture.database.assert_nothing_leaked(&again).await;
    })
    .await;
}

async fn assert_refused_when_quiet(clients: u32, backends: u32) {
    let Some(fixture) = Fixture::new(Pooling::Transaction, backends).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        assert_all_refused(&fixture, cache, clients).await;
    }
}

#[tokio::test]
async fn pooler_with_one_client_and_one_backend_is_detected() {
    assert_refused_when_quiet(1, 1).await;
}

#[tokio::test]
async fn pooler_with_one_client_and_two_backends_is_detected() {
    assert_refused_when_quiet(1, 2).await;
}

#[tokio::test]
async fn quiet_pooler_is_detected() {
    assert_refused_when_quiet(3, 2).await;
}

/// Runs short transactions one after the other until `stop` is set.
async fn traffic(pool: PgPool, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let message = sqlx::raw_sql("BEGIN; SELECT 1; COMMIT");
        let done = message.execute(&pool).await;
        done.expect("a bystander is not disturbed");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_pooler_is_detected() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 2).await else {
        return;
    };
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let others = fixture.pool(Cache::Default, 4).await;
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(traffic(others.clone(), stop.clone(), count.clone()));
    }
    for _ in 0..5 {
        for cache in [Cache::Default, Cache::Off] {
            assert_all_refused(&fixture, cache, 2).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    in_time(&fixture.database, clients.join_all()).await;
    let count = count.load(Ordering::Relaxed);
    println!("{count} transactions meanwhile");
    assert!(count > 100, "the pooler was not busy");
    fixture.database.assert_nothing_leaked(&others).await;
}

#[advisory(key = "one", scope = session)]
async fn runs(pool: &PgPool, fixture: &Fixture) -> Result<(), Error> {
    fixture.database.wait_until_held(1).await;
    Ok(())
}

#[tokio::test]
async fn session_locks_are_held_in_session_mode() {
    let Some(fixture) = Fixture::new(Pooling::Session, 4).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 3).await;
        for lock in [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])] {
            let guard = lock.acquire(&pool).await.unwrap();
            let refused = lock.try_acquire(&pool).await;
            assert!(refused.unwrap().is_none());
            fixture.database.wait_until_held(lock.keys().len()).await;
            guard.release().await.unwrap();
            fixture.database.wait_until_held(0).await;
            let guard = lock.try_acquire(&pool).await.unwrap().unwrap();
            assert!(!guard.is_lost());
            drop(guard);
            fixture.database.wait_until_held(0).await;
        }
        in_time(&fixture.database, runs(&pool, &fixture))
            .await
            .unwrap();
        fixture.database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}
