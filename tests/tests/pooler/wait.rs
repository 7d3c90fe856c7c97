//! Waits that are dropped, and waits that are cancelled.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Pooling;
use futures_util::future::{Either, select, try_join_all};
use sqlx::{Executor as _, PgConnection, PgPool};
use tokio::time::timeout;

use crate::scene::{Cache, Scene, begin, in_time};

/// How soon a dropped wait leaves the queue: promise 1 of the design.
const GRACE: Duration = Duration::from_secs(2);

/// Held by a client of the server itself: the pooler's backends are free for those who wait.
async fn hold(scene: &Scene) -> PgConnection {
    let mut holder = scene.database.connection().await;
    advisory_core::lock(&mut holder, "one").await.unwrap();
    holder
}

/// Drops a wait once it is in the queue, as one of so many.
async fn drop_when_waiting(scene: &Scene, waiting: usize, wait: impl Future) {
    let waits = pin!(scene.database.wait_until_waiting(waiting));
    assert!(matches!(select(pin!(wait), waits).await, Either::Right(_)));
}

async fn assert_leaves_the_queue(scene: &Scene, what: &str) {
    let left = timeout(GRACE, scene.database.wait_until_waiting(0)).await;
    assert!(left.is_ok(), "{what}:\n{}", scene.database.dump().await);
}

/// Every backend that the pooler may have can be had, at the same time, while others hold and wait.
async fn assert_full_capacity(pool: &PgPool, backends: u32) {
    let all = try_join_all((0..backends).map(|_| begin(pool)));
    let all = timeout(GRACE, all).await.expect("the pooler has room");
    for transaction in all.unwrap() {
        transaction.rollback().await.unwrap();
    }
}

#[advisory(key = "one")]
async fn beside(pool: &PgPool) -> Result<(), Error> {
    panic!("the body ran")
}

#[advisory(key = "one", tx = _tx, timeout = 60, side_effect = Skip)]
async fn inside(pool: &PgPool) -> Result<(), Error> {
    panic!("the body ran")
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue() {
    let Some(scene) = Scene::new(Pooling::Transaction, 2).await else {
        return;
    };
    let lock = AdvisoryLock::new("one");
    let limited = lock.clone().timeout(Duration::from_mins(1));
    for cache in [Cache::Default, Cache::Off] {
        let pool = scene.pool(cache, 3).await;
        let holder = hold(&scene).await;
        macro_rules! dropped {
            ($($verb:expr),+ $(,)?) => {$(
                drop_when_waiting(&scene, 1, $verb).await;
                assert_leaves_the_queue(&scene, stringify!($verb)).await;
                assert_full_capacity(&pool, 2).await;
            )+};
        }
        dropped! {
            lock.begin(&pool),
            limited.begin(&pool),
            limited.try_begin(&pool),
            lock.transaction(&pool, async |_| Ok::<_, Error>(())),
            limited.try_transaction(&pool, async |_| Ok::<_, Error>(())),
            beside(&pool),
            inside(&pool),
        }
        drop(holder);
        scene.database.wait_until_held(0).await;
        scene.database.assert_nothing_leaked(&pool).await;
        let acquired = in_time(&scene.database, lock.begin(&pool)).await;
        acquired.unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn as_many_dropped_waits_as_there_are_backends_do_not_block_the_pooler() {
    let Some(scene) = Scene::new(Pooling::Transaction, 2).await else {
        return;
    };
    let pool = scene.pool(Cache::Default, 2).await;
    let lock = AdvisoryLock::new("one");
    let _holder = hold(&scene).await;
    for _ in 0..3 {
        let both = async { tokio::join!(lock.begin(&pool), lock.begin(&pool)) };
        drop_when_waiting(&scene, 2, both).await;
        assert_full_capacity(&pool, 2).await;
        assert_leaves_the_queue(&scene, "both").await;
    }
}

#[tokio::test]
async fn only_the_dropped_wait_is_cancelled() {
    // One backend each for the two that wait, and one for the cancel.
    let Some(scene) = Scene::new(Pooling::Transaction, 3).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = scene.pool(cache, 2).await;
        let lock = AdvisoryLock::new("one").cancel_via(&pool);
        let holder = hold(&scene).await;
        let mut dropped = begin(&pool).await.unwrap();
        let mut kept = begin(&pool).await.unwrap();
        let (acquired, ()) = tokio::join!(lock.acquire_xact(&mut kept), async {
            scene.database.wait_until_waiting(1).await;
            drop_when_waiting(&scene, 2, lock.acquire_xact(&mut dropped)).await;
            scene.database.wait_until_waiting(1).await;
            // The right one: its transaction is aborted, and can be rolled back.
            dropped.execute("SELECT 1").await.unwrap_err();
            dropped.rollback().await.unwrap();
            drop(holder);
        });
        acquired.unwrap();
        scene.database.wait_until_held(1).await;
        kept.commit().await.unwrap();
        scene.database.assert_nothing_leaked(&pool).await;
    }
}
