//! Session locks: refused in transaction mode, in which they would remain with a backend of the
//! pooler, and granted in session mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, UnsupportedReason};
use advisory_tests::{Pooling, by_depth};
use advisory_verbs::{Scope, Verb};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::fixture::{Cache, Fixture, in_time};

fn session_verbs() -> impl Iterator<Item = Verb> {
    Verb::all(|verb| matches!(verb.scope(), Scope::Session | Scope::LockSession))
}

fn locks() -> [AdvisoryLock; 2] {
    [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])]
}

async fn assert_refused(verb: Verb, lock: &AdvisoryLock, pool: &PgPool) {
    let body = async { panic!("the body ran") };
    match verb.hold(lock, pool, body).await {
        Err(Error::Unsupported { reason, .. }) => {
            assert_eq!(reason, UnsupportedReason::TransactionPooler, "{verb}");
        }
        other => panic!("{verb}: {other:?}"),
    }
}

/// Each verb runs on a new pool, so that it does not use the result of an earlier probe.
async fn assert_all_refused(fixture: &Fixture, cache: Cache, clients: u32) {
    in_time(&fixture.database, async {
        for lock in locks() {
            for verb in session_verbs() {
                let pool = fixture.pool(cache, clients).await;
                assert_refused(verb, &lock, &pool).await;
            }
            let again = fixture.pool(cache, clients).await;
            for _ in 0..3 {
                assert_refused(Verb::Acquire, &lock, &again).await;
            }
            fixture.database.assert_nothing_leaked(&again).await;
        }
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
async fn quiet_pooler_with_one_backend_is_detected() {
    assert_refused_when_quiet(2, 1).await;
}

#[tokio::test]
async fn quiet_pooler_with_a_backend_for_each_client_is_detected() {
    assert_refused_when_quiet(2, 2).await;
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
    for _ in 0..by_depth(2, 5) {
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

#[tokio::test]
async fn session_locks_are_held_in_session_mode() {
    let Some(fixture) = Fixture::new(Pooling::Session, 4).await else {
        return;
    };
    let fixture = Arc::new(fixture);
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 3).await;
        for (lock, verb) in locks()
            .iter()
            .flat_map(|lock| session_verbs().map(move |verb| (lock, verb)))
        {
            let (watching, keys) = (fixture.clone(), lock.keys().len());
            let held = async move { watching.database.wait_until_held(keys).await };
            let held = verb.hold(lock, &pool, held);
            assert!(in_time(&fixture.database, held).await.unwrap(), "{verb}");
            fixture.database.wait_until_held(0).await;
            let guard = lock.acquire(&pool).await.unwrap();
            let refused = lock.clone().timeout(Duration::ZERO);
            verb.assert_refused(&refused, &pool).await;
            assert!(!guard.is_lost());
            drop(guard);
            fixture.database.wait_until_held(0).await;
        }
        fixture.database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}
