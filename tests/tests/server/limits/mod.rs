//! Limits: a full lock table, no free connections, timeouts, deadlocks; and holders and waiters
//! that are stopped.

mod connection;
mod deadlock;
mod key;
mod lock_table;
mod panic;
mod prepared;
mod runtime;
mod signal;
mod timeout;

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Database, Server, sample};
use advisory_verbs::Verb;
use sqlx::{PgPool, PgTransaction};
use tokio::sync::OnceCell;

/// A private server with these settings.
async fn server(settings: &'static [(&str, &str)]) -> Server {
    let start = || Server::start_with(settings);
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

/// A server with a large lock table, on which transactions can be prepared.
async fn large_server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let settings = &[
        ("max_locks_per_transaction", "1000"),
        ("max_prepared_transactions", "10"),
    ];
    SERVER.get_or_init(|| server(settings)).await
}

/// The SQLSTATE of an error that the server has raised.
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The SQLSTATE of an error that the crate has passed on unchanged.
fn passed_on(error: &Error) -> Option<String> {
    match error {
        Error::Database(error) => code(error),
        _ => None,
    }
}

/// Asserts that an error is one of the server or of the connection, and not a refusal.
fn assert_passed_on(verb: Verb, error: &Error) {
    let is_passed_on = matches!(error, Error::Database(_));
    assert!(is_passed_on, "{verb}: {error:?}");
}

/// The lock that a rival holds, so that all of [`waits`] wait.
fn contended() -> AdvisoryLock {
    AdvisoryLock::all(["one", "two"])
}

/// Every verb that can wait, with every kind of wait; in short depth, with every second kind.
fn waits() -> impl Iterator<Item = (Verb, AdvisoryLock)> {
    let one = AdvisoryLock::new("one").wait_forever();
    let several = contended().wait_forever();
    let isolated = one.clone().isolation(Isolation::Serializable);
    let timeout = Duration::from_mins(1);
    let kinds = [
        one.clone(),
        one.timeout(timeout),
        several.clone(),
        several.timeout(timeout),
    ];
    let everywhere = Verb::all(Verb::waits_in_statement).flat_map(move |verb| {
        let kinds = sample(verb as usize, kinds.clone());
        kinds.map(move |lock| (verb, lock))
    });
    // The other verbs refuse an isolation level.
    everywhere.chain(Verb::all(Verb::takes_isolation).map(move |verb| (verb, isolated.clone())))
}

/// The verbs of `AdvisoryLock` in a transaction of the caller.
const JOINING: [Verb; 2] = [Verb::AcquireXact, Verb::TryAcquireXact];

/// A database, a pool with one connection, and a rival's transaction that holds [`contended`].
async fn with_rival() -> (Database, PgPool, PgTransaction<'static>) {
    let database = Database::new().await;
    let (pool, rival) = (database.pool(2).await, database.pool(1).await);
    let held = contended().begin(&rival).await.unwrap();
    (database, pool, held)
}
