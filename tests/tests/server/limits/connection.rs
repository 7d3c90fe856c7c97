//! No free connection: all connections of the server or of the pool are in use.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Database, Server};
use advisory_verbs::Verb;
use futures_util::future::join_all;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Executor as _};

use super::{code, passed_on};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_mins(1);
/// The settings of a server with few connections.
const FEW_CONNECTIONS: &[(&str, &str)] = &[
    ("max_connections", "6"),
    ("superuser_reserved_connections", "0"),
];
/// The additional time that a busy machine may take.
const MARGIN: Duration = Duration::from_secs(20);

/// A pool that opens its connections lazily, with this timeout.
fn pool(database: &Database, connections: u32, acquire_timeout: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(acquire_timeout)
        .connect_lazy_with(database.options())
}

/// Locks and the timeouts of their pools. One of the two is short, so that the call is short.
fn waits() -> [(AdvisoryLock, Duration); 5] {
    let lock = AdvisoryLock::new("one");
    let polling = lock.clone().polling(Duration::from_millis(10));
    [
        (lock.clone().timeout(SHORT), LONG),
        (lock.clone().timeout(Duration::ZERO), SHORT),
        (lock, SHORT),
        (polling.clone().timeout(SHORT), LONG),
        (polling, SHORT),
    ]
}

/// True if neither the pool nor the server has a connection left.
fn is_without_connection(error: &Error) -> bool {
    matches!(error, Error::Database(sqlx::Error::PoolTimedOut))
        || passed_on(error).as_deref() == Some("53300")
}

/// Asserts that each of these verbs on the pool reports in time that there is no connection.
async fn assert_refused(verbs: fn(Verb) -> bool, lock: &AdvisoryLock, pool: &PgPool) {
    let refused = Verb::all(verbs).map(async |verb| {
        let started = Instant::now();
        let error = verb.ask(lock, pool).await.unwrap_err();
        assert!(is_without_connection(&error), "{verb}: {error:?}");
        started.elapsed()
    });
    for took in join_all(refused).await {
        assert!(took < SHORT + MARGIN, "{took:?}");
    }
}

/// Asserts that the verb gets its lock. On a busy machine, a connection may be opened too late for
/// the short timeouts, and the server may still be ending the connections of others.
async fn assert_granted(verb: Verb, lock: &AdvisoryLock, pool: &PgPool) {
    loop {
        match verb.ask(lock, pool).await {
            Err(error) if is_without_connection(&error) => {}
            outcome => return assert!(matches!(outcome, Ok(true)), "{verb}: {outcome:?}"),
        }
    }
}

/// Opens all connections that the server has left.
async fn take_all(database: &Database) -> Vec<PgConnection> {
    let mut taken = Vec::new();
    loop {
        match database.options().connect().await {
            Ok(conn) => taken.push(conn),
            Err(error) => {
                assert_eq!(code(&error).as_deref(), Some("53300"));
                return taken;
            }
        }
    }
}

#[tokio::test]
async fn server_without_free_connections_is_an_error_in_time() {
    let server = super::server(FEW_CONNECTIONS).await;
    let database = Database::on(&server).await;
    for (lock, acquire_timeout) in waits() {
        let pool = pool(&database, 2, acquire_timeout);
        let taken = take_all(&database).await;
        assert_refused(Verb::is_on_pool, &lock, &pool).await;

        drop(taken);
        for verb in Verb::ALL {
            assert_granted(verb, &lock, &pool).await;
        }
        database.assert_nothing_leaked(&pool).await;
        pool.close().await;
    }
}

#[tokio::test]
async fn exhausted_pool_is_an_error_in_time() {
    let database = Database::new().await;
    for (lock, acquire_timeout) in waits() {
        let pool = pool(&database, 2, acquire_timeout);
        let taken = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
        assert_refused(Verb::keeps_connection, &lock, &pool).await;
        assert!(database.advisory_locks().await.is_empty());

        drop(taken);
        for verb in Verb::ALL {
            assert_granted(verb, &lock, &pool).await;
        }
        database.assert_nothing_leaked(&pool).await;
    }
}

/// A wait that has a connection needs no other one.
#[tokio::test]
async fn refusal_on_an_exhausted_pool_is_reported() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 2, LONG), database.pool(1).await);
    let held = AdvisoryLock::new("one").begin(&rival).await.unwrap();
    let lock = AdvisoryLock::new("one").timeout(SHORT / 10);
    for verb in Verb::all(Verb::is_of_lock) {
        verb.assert_refused(&lock, &pool).await;
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn closed_pool_is_an_error() {
    let database = Database::new().await;
    let pool = pool(&database, 2, LONG);
    pool.execute("SELECT 1").await.unwrap();
    pool.close().await;
    for (lock, _) in waits() {
        for verb in Verb::ALL {
            let error = verb.ask(&lock, &pool).await.unwrap_err();
            let closed = matches!(error, Error::Database(sqlx::Error::PoolClosed));
            assert!(closed, "{verb}: {error:?}");
        }
    }
}

/// The number of connections that the server has refused.
fn refused(server: &Server) -> usize {
    let log = server.socket_dir().unwrap().join("log");
    let log = std::fs::read_to_string(log).unwrap();
    log.matches("too many clients").count()
}

/// The cancel request needs a connection of its own.
#[tokio::test]
async fn dropped_wait_is_cancelled_when_a_connection_is_free() {
    let server = super::server(FEW_CONNECTIONS).await;
    let database = Database::on(&server).await;
    let (pool, rival) = (pool(&database, 2, LONG), database.pool(1).await);
    let held = AdvisoryLock::new("one").begin(&rival).await.unwrap();
    let lock = AdvisoryLock::new("one").cancel_via(&pool);
    let mut tx = pool.begin().await.unwrap();
    let mut taken = take_all(&database).await;
    let before = refused(&server);
    tokio::select! {
        _ = lock.acquire_xact(&mut tx) => unreachable!(),
        () = database.wait_until_waiting(1) => {}
    }
    while refused(&server) == before {
        tokio::task::yield_now().await;
    }
    taken.pop();
    database.wait_until_waiting(0).await;
    held.rollback().await.unwrap();
    drop(tx);
    database.assert_nothing_leaked(&pool).await;
}
