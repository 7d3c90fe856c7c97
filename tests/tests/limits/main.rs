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
mod verb;

use advisory_core::Error;
use advisory_tests::Server;
use tokio::sync::OnceCell;

use crate::verb::Verb;

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
fn assert_passed_on(verb: &Verb, error: &Error) {
    let is_passed_on = matches!(error, Error::Database(_));
    assert!(is_passed_on, "{}: {error:?}", verb.name);
}
