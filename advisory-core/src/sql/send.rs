//! Sends messages, and bounds the time that the server may take to answer.

use std::future::Future;
use std::io::{Error as IoError, ErrorKind};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgExecutor, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::time::timeout;

use super::sqlstate;
use super::transaction::{RESET, ROLLBACK};
use crate::lock::Wait;
use crate::time_bounds::LOGGED_WAIT;

/// Sends one message of the simple protocol, and returns all rows of all its statements.
///
/// Behind a pooler that lends a session for a transaction, such a message reaches one session
/// whole, where the extended protocol can be torn apart. Every message of this crate is sent here,
/// but for those that open a transaction of sqlx's.
pub(crate) async fn send(
    executor: impl PgExecutor<'_>,
    message: impl Into<String>,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let message = AssertSqlSafe(message.into());
    executor.fetch_all(sqlx::raw_sql(message)).await
}

/// Sends a message that may wait for a lock. `None` instead of its rows if it did wait.
///
/// sqlx logs a statement as slow by the life of the future that sends it. The wait is meant, so
/// that future is dropped, and only the end of the answer is awaited.
pub(crate) async fn send_wait(
    conn: &mut PgConnection,
    wait: Wait,
    message: String,
) -> Result<Option<Vec<PgRow>>, sqlx::Error> {
    let sent = send(&mut *conn, message);
    if wait == Wait::No {
        return sent.await.map(Some);
    }
    match timeout(LOGGED_WAIT, sent).await {
        Ok(answer) => answer.map(Some),
        Err(_elapsed) => conn.flush().await.map(|()| None),
    }
}

/// The one row of a message that has one.
pub(crate) async fn send_for_row(
    executor: impl PgExecutor<'_>,
    message: impl Into<String>,
) -> Result<PgRow, sqlx::Error> {
    last_row(send(executor, message).await?)
}

/// The one row of an answer that has one.
pub(crate) fn last_row(rows: Vec<PgRow>) -> Result<PgRow, sqlx::Error> {
    rows.into_iter().next_back().ok_or(sqlx::Error::RowNotFound)
}

/// Sends a statement on a connection of a pool, which is committed with its message. Other code may
/// have left the connection in a transaction, which is rolled back first, or may have dropped a
/// statement there.
pub(crate) async fn send_in_own_transaction(
    conn: &mut PgConnection,
    statement: &str,
) -> Result<Vec<PgRow>, sqlx::Error> {
    drain(conn).await?;
    let message = format!("{RESET};{statement}");
    match send(&mut *conn, &*message).await {
        // An aborted transaction refuses the whole message.
        Err(error) if sqlstate::is_aborted_before(&error) => {
            send(&mut *conn, ROLLBACK).await?;
            send(conn, message).await
        }
        sent => sent,
    }
}

/// Reads the pending responses of statements that were dropped before they were answered.
///
/// sqlx would return an error among them from the next statement, where the lock timeout of another
/// wait would look like the timeout of this one. It costs nothing if there are none.
pub(crate) async fn drain(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    loop {
        match conn.flush().await {
            Ok(()) => return Ok(()),
            // The owner of that statement is gone. If the statement aborted its transaction, the
            // next one says so.
            Err(error) if sqlstate::is_answer(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the answer to a message that waits for a lock.
///
/// The server measures the wait. If it does not answer within the response timeout after it, then
/// the network or the server is gone, and the wait ends in an error. A wait without a limit has
/// none here.
pub(crate) async fn within<T, E: From<sqlx::Error>>(
    response_timeout: Duration,
    wait: Wait,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let limit = match wait {
        Wait::No => response_timeout,
        Wait::For(limit) => limit.saturating_add(response_timeout),
        Wait::Server | Wait::Forever => return answer.await,
    };
    let silence = || IoError::new(ErrorKind::TimedOut, "the server does not answer");
    let answer = timeout(limit, answer).await;
    answer.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(silence()).into()))
}
