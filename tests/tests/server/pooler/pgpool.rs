//! Locks behind a pgpool-II, which gives each client a session.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Pgpool};
use advisory_verbs::Verb;

use super::fixture::{SERVER, in_time};

#[tokio::test]
async fn every_verb_holds_its_lock() {
    let database = Database::on(&SERVER).await;
    let Some(pooler) = Pgpool::try_start(&database).await else {
        return;
    };
    let (pool, other) = (pooler.pool(4).await, pooler.pool(2).await);
    let lock = AdvisoryLock::new("one");
    let refused = lock.clone().timeout(Duration::ZERO);
    for verb in Verb::all(Verb::is_on_pool) {
        let (other, refused) = (other.clone(), refused.clone());
        let body = async move { assert!(!Verb::TryBegin.ask(&refused, &other).await.unwrap()) };
        let held = in_time(&database, verb.hold(&lock, &pool, body)).await;
        assert!(
            held.unwrap_or_else(|error| panic!("{verb}: {error}")),
            "{verb}"
        );
        database.wait_until_held(0).await;
    }
    pool.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_session_lock_that_is_lost_or_dropped_leaves_nothing_behind() {
    let database = Database::on(&SERVER).await;
    let Some(pooler) = Pgpool::try_start(&database).await else {
        return;
    };
    let pool = pooler.pool(4).await;
    let lock = AdvisoryLock::new("one");
    for _ in 0..3 {
        drop(lock.acquire(&pool).await.unwrap());
        database.wait_until_held(0).await;
    }
    let guard = lock.acquire(&pool).await.unwrap();
    drop(pooler);
    in_time(&database, guard.lost()).await;
    assert!(guard.release().await.unwrap_err().is_lost());
    database.wait_until_held(0).await;
}
