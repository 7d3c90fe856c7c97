//! Session locks: refused in transaction mode, where they would stay with a backend of the pooler; as ever in session mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use advisory_core::{AdvisoryLock, Error, UnsupportedReason, advisory};
use advisory_tests::Pooling;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::scene::{Cache, Scene, in_time};

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

/// Each verb is the first on a pool of its own: nothing learnt from another one helps it.
async fn assert_all_refused(scene: &Scene, cache: Cache, clients: u32) {
    let pool = async || scene.pool(cache, clients).await;
    let one = AdvisoryLock::new("one");
    let several = AdvisoryLock::all(["one", "two"]);
    in_time(&scene.database, async {
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
        scene.database.assert_nothing_leaked(&again).await;
    })
    .await;
}

async fn assert_refused_when_quiet(clients: u32, backends: u32) {
    let Some(scene) = Scene::new(Pooling::Transaction, backends).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        assert_all_refused(&scene, cache, clients).await;
    }
}

#[tokio::test]
async fn one_client_and_one_backend_are_told_apart_from_a_server() {
    assert_refused_when_quiet(1, 1).await;
}

#[tokio::test]
async fn one_client_and_two_backends_are_told_apart_from_a_server() {
    assert_refused_when_quiet(1, 2).await;
}

#[tokio::test]
async fn a_quiet_pooler_is_told_apart_from_a_server() {
    assert_refused_when_quiet(3, 2).await;
}

/// Short transactions, one after the other, until it is told to stop.
async fn traffic(pool: PgPool, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let message = sqlx::raw_sql("BEGIN; SELECT 1; COMMIT");
        let done = message.execute(&pool).await;
        done.expect("a bystander is not disturbed");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_pooler_is_told_apart_from_a_server() {
    let Some(scene) = Scene::new(Pooling::Transaction, 2).await else {
        return;
    };
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let others = scene.pool(Cache::Default, 4).await;
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(traffic(others.clone(), stop.clone(), count.clone()));
    }
    for _ in 0..5 {
        for cache in [Cache::Default, Cache::Off] {
            assert_all_refused(&scene, cache, 2).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    in_time(&scene.database, clients.join_all()).await;
    let count = count.load(Ordering::Relaxed);
    println!("{count} transactions meanwhile");
    assert!(count > 100, "the pooler was not busy");
    scene.database.assert_nothing_leaked(&others).await;
}

#[advisory(key = "one", scope = session)]
async fn runs(pool: &PgPool, scene: &Scene) -> Result<(), Error> {
    scene.database.wait_until_held(1).await;
    Ok(())
}

#[tokio::test]
async fn in_session_mode_they_are_held_until_they_are_released() {
    let Some(scene) = Scene::new(Pooling::Session, 4).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = scene.pool(cache, 3).await;
        for lock in [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])] {
            let guard = lock.acquire(&pool).await.unwrap();
            assert!(lock.try_acquire(&pool).await.unwrap().is_none());
            scene.database.wait_until_held(lock.keys().len()).await;
            guard.release().await.unwrap();
            scene.database.wait_until_held(0).await;
            let guard = lock.try_acquire(&pool).await.unwrap().unwrap();
            assert!(!guard.is_lost());
            drop(guard);
            scene.database.wait_until_held(0).await;
        }
        in_time(&scene.database, runs(&pool, &scene)).await.unwrap();
        scene.database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}
