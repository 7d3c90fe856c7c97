//! Session locks: held by the session in session mode, and by a transaction in transaction mode, in
//! which a session lock would remain with a backend of the pooler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, UnsupportedReason};
use advisory_tests::{Pooling, Proxy, by_depth, sample};
use advisory_verbs::{Scope, Verb, begin, unsupported};
use futures_util::future::try_join_all;
use sqlx::{PgPool, PgTransaction};
use tokio::task::JoinSet;

use super::fixture::{Cache, Fixture, backend, in_time};

fn session_verbs() -> impl Iterator<Item = Verb> {
    Verb::all(|verb| matches!(verb.scope(), Scope::Session | Scope::LockSession))
}

fn locks() -> [AdvisoryLock; 2] {
    [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])]
}

/// Each verb runs on a new pool, so that it does not use the result of an earlier probe.
async fn assert_all_held(fixture: &Arc<Fixture>, cache: Cache, clients: u32) {
    for lock in locks() {
        for verb in session_verbs() {
            let pool = fixture.pool(cache, clients).await;
            assert_held(fixture, verb, &lock, &pool).await;
            pool.close().await;
        }
        let again = fixture.pool(cache, clients).await;
        for _ in 0..3 {
            assert_held(fixture, Verb::Acquire, &lock, &again).await;
        }
        fixture.database.assert_nothing_leaked(&again).await;
    }
}

/// Asserts that the lock is held while the body runs, in a transaction that holds nothing else up,
/// and not after that.
async fn assert_held(fixture: &Arc<Fixture>, verb: Verb, lock: &AdvisoryLock, pool: &PgPool) {
    let (watching, keys) = (Arc::clone(fixture), lock.keys().to_vec());
    let body = async move { assert_is_held(&watching, &keys).await };
    let held = in_time(&fixture.database, verb.hold(lock, pool, body)).await;
    assert!(
        held.unwrap_or_else(|error| panic!("{verb}: {error}")),
        "{verb}"
    );
    fixture.database.wait_until_held(0).await;
}

/// Asserts that one backend holds these keys and no others, and that it has neither a transaction
/// id nor a snapshot.
async fn assert_is_held(fixture: &Fixture, keys: &[Key]) {
    fixture.database.wait_until_held(keys.len()).await;
    let locks = fixture.database.advisory_locks().await;
    let pid = locks[0].pid;
    let held = fixture.held_by(pid).await;
    let expected: Vec<_> = keys
        .iter()
        .map(|key| (*key, "ExclusiveLock".to_owned()))
        .collect();
    assert_eq!(held, expected);
    let mut direct = fixture.database.connection().await;
    let holds_up = sqlx::query_scalar::<_, bool>(
        "SELECT backend_xid IS NOT NULL OR backend_xmin IS NOT NULL FROM pg_stat_activity \
         WHERE pid = $1 AND state = 'idle in transaction'",
    );
    let holds_up = holds_up.bind(pid).fetch_one(&mut direct).await;
    assert!(!holds_up.unwrap(), "VACUUM waits for the lock");
}

#[tokio::test]
async fn locks_are_held_behind_a_quiet_pooler() {
    // With one backend, with a backend for each client, and with fewer.
    for (clients, backends) in [(2, 1), (2, 2), (3, 2)] {
        let Some(fixture) = Fixture::new(Pooling::Transaction, backends).await else {
            return;
        };
        let fixture = Arc::new(fixture);
        for cache in [Cache::Default, Cache::Off] {
            println!("{clients} clients, {backends} backends, {cache:?}");
            assert_all_held(&fixture, cache, clients).await;
        }
    }
}

#[tokio::test]
async fn a_lock_that_is_held_is_refused_to_others() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    let caches = [Cache::Default, Cache::Off];
    for (n, (cache, lock)) in caches.into_iter().zip(locks()).enumerate() {
        let (pool, other) = (fixture.pool(cache, 3).await, fixture.pool(cache, 3).await);
        let guard = lock.acquire(&pool).await.unwrap();
        let refused = lock.clone().timeout(Duration::from_secs(1));
        for verb in sample(n, Verb::all(Verb::is_on_pool)) {
            let error = in_time(&fixture.database, verb.assert_refused(&refused, &other)).await;
            if let Some(error) = error {
                let is_named =
                    matches!(&error, Error::NotAcquired { holders, .. } if !holders.is_empty());
                assert!(is_named, "{verb}: {error:?}");
            }
        }
        assert!(!guard.is_lost());
        guard.release().await.unwrap();
        fixture.database.assert_nothing_leaked(&pool).await;
        fixture.database.assert_nothing_leaked(&other).await;
    }
}

/// The probe leaves a lock in one of the pooler's backends. Other clients use the others before it
/// looks, so that the pooler lends that backend last of all.
#[tokio::test]
async fn a_backend_that_the_pooler_lends_last_is_found() {
    const BACKENDS: u32 = 8;
    let Some(fixture) = Fixture::new(Pooling::Transaction, BACKENDS).await else {
        return;
    };
    let proxy = Proxy::start(&fixture.database.through(fixture.pooler.options())).await;
    let others = fixture.pool(Cache::Default, BACKENDS).await;
    let (mut delay, mut last) = (Duration::from_millis(40), 0);
    while last < by_depth(2, 5) {
        let pool = proxy.pool(2).await;
        proxy.set_delay(delay);
        let lock = AdvisoryLock::new("one");
        let (acquired, is_last) = tokio::join!(lock.acquire(&pool), async {
            fixture.database.wait_until_held(1).await;
            let all = try_join_all((0..BACKENDS).map(|_| begin(&others))).await;
            let is_last = match all {
                Ok(all) => end_one_first(&fixture, all).await,
                // The probe was over before, and the lock keeps one of the backends.
                Err(Error::Database(sqlx::Error::PoolTimedOut)) => false,
                Err(error) => panic!("{error:?}"),
            };
            proxy.set_delay(Duration::ZERO);
            is_last
        });
        proxy.set_delay(Duration::ZERO);
        acquired.unwrap().release().await.unwrap();
        fixture.database.assert_nothing_leaked(&others).await;
        pool.close().await;
        if is_last {
            last += 1;
        } else {
            // A busy machine needs more time than the probe.
            delay *= 2;
        }
    }
}

/// Ends all transactions, the one on the backend with the lock of the probe first. `false` if the
/// probe has found its lock.
async fn end_one_first(fixture: &Fixture, mut all: Vec<PgTransaction<'static>>) -> bool {
    let locks = fixture.database.advisory_locks().await;
    let mut pids = Vec::new();
    for tx in &mut all {
        pids.push(backend(tx).await.unwrap());
    }
    let probed = pids
        .iter()
        .position(|pid| locks.iter().any(|lock| lock.pid == *pid));
    if let Some(probed) = probed {
        all.swap(0, probed);
    }
    for tx in all {
        tx.rollback().await.unwrap();
    }
    probed.is_some()
}

#[tokio::test]
async fn a_pooler_in_statement_mode_is_refused() {
    let Some(fixture) = Fixture::new(Pooling::Statement, 3).await else {
        return;
    };
    for verb in session_verbs() {
        let pool = fixture.pool(Cache::Off, 3).await;
        let body = async { panic!("the body ran") };
        let refused = verb.hold(&AdvisoryLock::new("one"), &pool, body).await;
        let error = refused.unwrap_err();
        assert_eq!(unsupported(&error), &UnsupportedReason::UnfitPool, "{verb}");
        fixture.database.wait_until_held(0).await;
    }
}

#[tokio::test]
async fn the_connection_of_a_lock_is_not_handed_out() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 2).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 3).await;
    let mut guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    let refused = guard.connection().await.map(drop).unwrap_err();
    let unheard = guard.notification().await.map(drop).unwrap_err();
    for error in [refused, unheard] {
        assert_eq!(unsupported(&error), &UnsupportedReason::HeldByTransaction);
    }
    fixture.database.wait_until_held(1).await;
    guard.release().await.unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
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
async fn locks_are_held_behind_a_busy_pooler() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 3).await else {
        return;
    };
    let fixture = Arc::new(fixture);
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
            assert_all_held(&fixture, cache, 2).await;
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
