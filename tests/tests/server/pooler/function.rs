//! The eleven functions lock and unlock the key that they are given.

use std::sync::Arc;

use advisory_core::{Error, Key, unlock_all};
use advisory_tests::{Pooling, by_depth};
use advisory_verbs::{Function, begin};
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::task::JoinSet;

use super::fixture::{Cache, Fixture, Tally, backend, in_time, key};

const CLIENTS: u32 = 6;

const BACKENDS: u32 = 2;

/// The number of keys of each client and function.
fn keys() -> i32 {
    by_depth(10, 30)
}

/// A key that only one client uses, for one function only. In both key spaces.
fn own_key(client: u32, function: Function, n: i32) -> Key {
    let which = Function::all().position(|other| other == function).unwrap();
    let high = i32::try_from(client).unwrap() * 10 + i32::try_from(which).unwrap();
    if n % 2 == 0 {
        Key::from((high, n))
    } else {
        Key::from(-i64::from(high * 100 + n))
    }
}

/// The expected row of `pg_locks` for one key.
fn row(key: Key, function: Function) -> (Key, String) {
    (key, function.mode().to_owned())
}

/// Counts whether a result is as expected. A test does not stop at the first mismatch, so that its
/// output shows all of them.
fn record<T: PartialEq + std::fmt::Debug>(tally: &Tally, what: &str, found: &T, expected: &T) {
    if found == expected {
        tally.count("as expected");
    } else {
        tally.count(format!("wrong: {what}"));
    }
}

/// The SQLSTATE of an error, if it has one. Its text may contain one of many statement names.
fn kind(error: &Error) -> String {
    let Error::Database(sqlx::Error::Database(error)) = error else {
        return error.to_string();
    };
    error.code().unwrap_or_default().into_owned()
}

/// Locks one key in a transaction, and releases it before the end if the function allows that.
async fn in_transaction(
    fixture: &Fixture,
    tally: &Tally,
    tx: &mut PgTransaction<'_>,
    function: Function,
    key: Key,
) -> Result<(), Error> {
    let pid = backend(tx).await?;
    let acquired = function.call(tx, key).await?;
    record(tally, "answer of a lock", &acquired, &true);
    let expected = vec![row(key, function)];
    record(tally, "lock", &fixture.held_by(pid).await, &expected);
    if function.is_xact {
        return Ok(());
    }
    let released = if function.tries && !function.is_shared {
        unlock_all(&mut *tx).await?;
        true
    } else {
        function.unlock(tx, key).await?
    };
    record(tally, "answer of an unlock", &released, &true);
    record(tally, "unlock", &fixture.held_by(pid).await, &Vec::new());
    Ok(())
}

async fn client_in_transactions(
    client: u32,
    pool: PgPool,
    fixture: Arc<Fixture>,
    tally: Arc<Tally>,
) {
    for n in 0..keys() {
        for function in Function::all() {
            let mut tx = begin(&pool).await.unwrap();
            let key = own_key(client, function, n);
            let done = in_transaction(&fixture, &tally, &mut tx, function, key).await;
            if let Err(error) = done {
                tally.count(format!("error: {}", kind(&error)));
            }
            // An aborted transaction has reported its error already.
            let _ = tx.rollback().await;
        }
    }
}

/// Locks one key outside a transaction. The unlock may reach another backend, which reports that it
/// does not hold the lock. The lock may be refused as well: the crate checks at times that the
/// session holds the granted lock, and may see another session.
async fn in_autocommit(
    fixture: &Fixture,
    tally: &Tally,
    conn: &mut PgConnection,
    function: Function,
    own: Key,
) -> Result<(), Error> {
    let acquired = function.call(conn, own).await?;
    record(tally, "answer of a lock", &acquired, &true);
    let held = async || {
        let locks = fixture.database.advisory_locks().await;
        let of_key = locks.into_iter().filter(|lock| key(lock) == own);
        of_key.map(|lock| (own, lock.mode)).collect::<Vec<_>>()
    };
    let expected = vec![row(own, function)];
    record(tally, "lock", &held().await, &expected);
    let released = function.unlock(conn, own).await?;
    let expected = if released { Vec::new() } else { expected };
    record(tally, "unlock", &held().await, &expected);
    let answer = if released { "" } else { " by another backend" };
    tally.count(format!("unlocked{answer}"));
    Ok(())
}

async fn client_in_autocommit(client: u32, pool: PgPool, fixture: Arc<Fixture>, tally: Arc<Tally>) {
    for n in 0..keys() {
        for function in Function::all().filter(|function| !function.is_xact) {
            let mut conn = pool.acquire().await.unwrap();
            let key = own_key(client, function, n);
            let done = in_autocommit(&fixture, &tally, &mut conn, function, key).await;
            match done {
                Ok(()) => {}
                Err(Error::Unsupported { .. }) => tally.count("refused"),
                Err(error) => tally.count(format!("error: {}", kind(&error))),
            }
        }
    }
}

/// Runs six clients over two backends.
async fn run_clients<F>(
    cache: Cache,
    run: impl Fn(u32, PgPool, Arc<Fixture>, Arc<Tally>) -> F,
) -> Option<(Arc<Fixture>, PgPool, Arc<Tally>)>
where
    F: Future<Output = ()> + Send + 'static,
{
    let fixture = Arc::new(Fixture::new(Pooling::Transaction, BACKENDS).await?);
    // A statement that runs on the wrong session may wait for a lock that is never released.
    let limit = format!(
        "ALTER DATABASE {} SET lock_timeout = '1s'",
        fixture.database.name()
    );
    fixture.database.execute(limit).await;
    let pool = fixture.pool(cache, CLIENTS).await;
    let tally = Arc::new(Tally::default());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(run(client, pool.clone(), fixture.clone(), tally.clone()));
    }
    in_time(&fixture.database, clients.join_all()).await;
    Some((fixture, pool, tally))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_lock_the_right_key_in_transactions() {
    for cache in [Cache::Default, Cache::Off] {
        let Some((fixture, pool, tally)) = run_clients(cache, client_in_transactions).await else {
            return;
        };
        println!("in transactions, {cache:?}:\n{tally}");
        // Each function is checked for its result and its lock. Four of the eight are also released
        // by hand.
        let checks = u64::from(CLIENTS) * u64::from(keys().unsigned_abs()) * (8 * 2 + 4 * 2);
        assert_eq!(tally.sum("as expected"), checks, "\n{tally}");
        fixture.database.assert_nothing_leaked(&pool).await;
    }
}

/// Outside a transaction, session locks remain with the backends of the pooler, so
/// [`AdvisoryLock`](advisory_core::AdvisoryLock) refuses them. The functions do not refuse, but
/// must lock the given key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_lock_no_other_key_in_autocommit() {
    for cache in [Cache::Default, Cache::Off] {
        let Some((fixture, _pool, tally)) = run_clients(cache, client_in_autocommit).await else {
            return;
        };
        println!("in autocommit, {cache:?}:\n{tally}");
        let rounds = u64::from(CLIENTS) * u64::from(keys().unsigned_abs()) * 4;
        let checks = (rounds - tally.sum("refused")) * 3;
        assert_eq!(tally.sum("as expected"), checks, "\n{tally}");
        assert!(tally.sum("unlocked") > 0, "the test covers too little");
        let all: Vec<_> = (0..CLIENTS)
            .flat_map(|client| Function::all().map(move |function| (client, function)))
            .flat_map(|(client, function)| (0..keys()).map(move |n| own_key(client, function, n)))
            .collect();
        let locks = fixture.database.advisory_locks().await;
        let unknown: Vec<_> = locks
            .iter()
            .filter(|lock| !all.contains(&key(lock)))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
