//! Waits that are dropped, and waits that are cancelled.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::{Pooling, another_pool, drop_when, sample};
use advisory_verbs::{Verb, begin};
use futures_util::future::try_join_all;
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, PgPool};
use tokio::time::timeout;

use super::fixture::{Cache, Fixture, in_time};

/// How soon a dropped wait must leave the queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// Holds the lock on a direct connection, so that all backends of the pooler are free for the
/// waiters.
async fn hold(fixture: &Fixture) -> PgConnection {
    let mut holder = fixture.database.connection().await;
    advisory_core::lock(&mut holder, "one").await.unwrap();
    holder
}

/// Drops a wait when `waiting` waits are in the queue.
async fn drop_when_waiting(fixture: &Fixture, waiting: usize, wait: impl Future) {
    drop_when(fixture.database.wait_until_waiting(waiting), wait).await;
}

async fn assert_leaves_the_queue(fixture: &Fixture, what: &str) {
    let left = timeout(QUEUE_TIMEOUT, fixture.database.wait_until_waiting(0)).await;
    assert!(left.is_ok(), "{what}:\n{}", fixture.database.dump().await);
}

/// Asserts that all backends of the pooler can be used at the same time.
async fn assert_full_capacity(pool: &PgPool, backends: u32) {
    let all = try_join_all((0..backends).map(|_| begin(pool)));
    let all = timeout(QUEUE_TIMEOUT, all)
        .await
        .expect("the pooler has free backends");
    for transaction in all.unwrap() {
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn dropped_wait_leaves_the_queue() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 2).await else {
        return;
    };
    let lock = AdvisoryLock::new("one").wait_forever();
    let locks = [lock.clone(), lock.clone().timeout(Duration::from_mins(1))];
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 3).await;
        let holder = hold(&fixture).await;
        for verb in Verb::all(Verb::takes_isolation) {
            for lock in sample(verb as usize, &locks) {
                drop_when_waiting(&fixture, 1, verb.ask(lock, &pool)).await;
                assert_leaves_the_queue(&fixture, verb.name()).await;
                assert_full_capacity(&pool, 2).await;
            }
        }
        drop(holder);
        fixture.database.wait_until_held(0).await;
        fixture.database.assert_nothing_leaked(&pool).await;
        let acquired = in_time(&fixture.database, lock.begin(&pool)).await;
        acquired.unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn dropped_waits_on_all_backends_do_not_block_the_pooler() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 2).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 2).await;
    let lock = AdvisoryLock::new("one");
    let _holder = hold(&fixture).await;
    for _ in 0..3 {
        let other = another_pool(&pool);
        let both = async { tokio::join!(lock.begin(&pool), lock.begin(&other)) };
        drop_when_waiting(&fixture, 2, both).await;
        assert_full_capacity(&pool, 2).await;
        assert_leaves_the_queue(&fixture, "both").await;
    }
}

#[tokio::test]
async fn only_the_dropped_wait_is_cancelled() {
    // One backend for each of the two waiters, and one for the cancel request.
    let Some(fixture) = Fixture::new(Pooling::Transaction, 3).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 2).await;
        let lock = AdvisoryLock::new("one").cancel_via(&pool);
        let holder = hold(&fixture).await;
        let mut dropped = begin(&pool).await.unwrap();
        let mut kept = begin(&pool).await.unwrap();
        let (acquired, ()) = tokio::join!(lock.acquire_xact(&mut kept), async {
            fixture.database.wait_until_waiting(1).await;
            drop_when_waiting(&fixture, 2, lock.acquire_xact(&mut dropped)).await;
            fixture.database.wait_until_waiting(1).await;
            // The right transaction was cancelled: it is aborted, and can be rolled back.
            dropped.execute("SELECT 1").await.unwrap_err();
            dropped.rollback().await.unwrap();
            drop(holder);
        });
        acquired.unwrap();
        fixture.database.wait_until_held(1).await;
        kept.commit().await.unwrap();
        fixture.database.assert_nothing_leaked(&pool).await;
    }
}

/// The pooler's own limit, after which it closes the connection.
#[tokio::test]
async fn wait_that_the_pooler_ends_names_the_lock() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 1).await else {
        return;
    };
    let console = fixture.pooler.options().database("pgbouncer");
    let mut console = console.connect().await.unwrap();
    console.execute("SET query_wait_timeout = 1").await.unwrap();
    let pool = fixture.pool(Cache::Default, 2).await;
    let only_backend = begin(&pool).await.unwrap();
    let error = AdvisoryLock::new("one").begin(&pool).await.unwrap_err();
    let end = error.ended_wait().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(end.setting(), Some("query_wait_timeout"), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("advisory lock `one`") && text.contains("`query_wait_timeout`"),
        "{text}"
    );
    only_backend.rollback().await.unwrap();
}
