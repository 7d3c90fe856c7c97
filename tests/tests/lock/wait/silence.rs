//! A network that falls silent during a call: the call still ends in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Database, Proxy};
use advisory_verbs::{Refusal, Scope, Verb};
use futures_util::future::join_all;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::{sleep, timeout};

/// How long a call may take. Its timeout and the response timeout are 1.2 seconds together, and
/// without them it would take as long as the network is silent.
const BOUND: Duration = Duration::from_secs(20);
/// The response timeout if none is set. One call of each verb at least ends earlier.
const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

fn lock() -> AdvisoryLock {
    AdvisoryLock::new(1).response_timeout(Duration::from_secs(1))
}

/// The locks of a verb, each with a bound: a timeout, or a verb that does not wait.
fn locks(verb: Verb) -> Vec<AdvisoryLock> {
    let limit = Duration::from_millis(200);
    let timed = lock().timeout(limit);
    let several = AdvisoryLock::all([1, 2]).response_timeout(Duration::from_secs(1));
    let mut locks = vec![timed.clone(), several.timeout(limit)];
    if verb.refusal() == Refusal::Report {
        locks.push(lock());
    }
    if verb.takes_isolation() {
        locks.push(timed.isolation(Isolation::Serializable));
    }
    locks
}

/// Asserts that a call returns an error in time, and that the error is not "not acquired". Returns
/// the time of the call.
async fn assert_fails_in_time<T>(
    verb: Verb,
    call: impl Future<Output = Result<T, Error>>,
) -> Duration {
    let started = Instant::now();
    match timeout(BOUND, call).await {
        Ok(Err(Error::Database(_))) => {}
        Ok(Err(other)) => panic!("{verb}: {other}"),
        Ok(Ok(_)) => panic!("{verb}: there was an answer"),
        Err(elapsed) => panic!("{verb}: {elapsed}"),
    }
    started.elapsed()
}

/// A pool with an open connection, on which a lock has been taken. The ping of a pool would meet
/// the silence before the verb does, so there is none.
async fn pool(proxy: &Proxy) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .test_before_acquire(false)
        .connect_with(proxy.options())
        .await
        .unwrap();
    let guard = lock().acquire(&pool).await.unwrap();
    guard.release().await.unwrap();
    pool
}

/// Runs the verb while the network is silent from its first message on.
async fn assert_ends(verb: Verb) {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = pool(&proxy).await;
    let mut quickest = Duration::MAX;
    for lock in locks(verb) {
        // The pool returns the connection in the background.
        while pool.num_idle() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        // A session that is not open has the pool's time to open.
        if verb.scope() == Scope::LockSession {
            verb.ask(&self::lock(), &pool).await.unwrap();
        }
        if verb.scope() == Scope::CallerTransaction {
            let mut tx = pool.begin().await.unwrap();
            proxy.set_silent(true);
            let call = assert_fails_in_time(verb, verb.join(&lock, &mut tx));
            quickest = quickest.min(call.await);
        } else {
            proxy.set_silent(true);
            let call = assert_fails_in_time(verb, verb.ask(&lock, &pool));
            quickest = quickest.min(call.await);
        }
        proxy.set_silent(false);
        database.assert_nothing_leaked(&pool).await;
    }
    assert!(quickest < DEFAULT_RESPONSE_TIMEOUT, "{verb}: {quickest:?}");
}

/// PostgreSQL's functions have no bound of their own.
#[tokio::test]
async fn every_verb_with_a_bound_ends_on_a_silent_network() {
    join_all(Verb::all(Verb::is_of_lock).map(assert_ends)).await;
}

/// The body fails and the network falls silent, so the rollback is not answered.
#[tokio::test]
async fn failed_body_returns_although_its_rollback_is_not_answered() {
    for verb in [
        Verb::Transaction,
        Verb::AttributeInside,
        Verb::AttributeOnConnection,
    ] {
        let database = Database::new().await;
        let proxy = Arc::new(Proxy::start(&database).await);
        let pool = pool(&proxy).await;
        let silenced = proxy.clone();
        let call = verb.run(&lock(), &pool, |_| {
            Box::pin(async move {
                silenced.set_silent(true);
                Err(Error::Database(sqlx::Error::WorkerCrashed))
            })
        });
        assert_fails_in_time(verb, call).await;
        proxy.set_silent(false);
        database.assert_nothing_leaked(&pool).await;
    }
}
