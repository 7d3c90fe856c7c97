//! PostgreSQL's advisory lock functions: one statement each.

use std::time::Instant;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::executor::ready;
use crate::fitness::check_lock_on;
use crate::sql::function::{self, Answer};
use crate::sql::state;
use crate::{AdvisoryLock, Error, Key, LockExecutor};

/// Waits for an exclusive lock that the session holds until [`unlock`] or its end (`pg_advisory_lock`).
///
/// A session may take one lock several times; each needs its own [`unlock`]. Rolling back does not release it. Not for a connection
/// that a pooler lends out for a transaction: the lock stays behind in a session that is somebody else's next. [`AdvisoryLock::acquire`]
/// notices that, and this function cannot.
///
/// ```no_run
/// use advisory_core::Error;
///
/// # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), Error> {
/// advisory_core::lock(&mut *conn, "nightly").await?;
/// // … whatever happens to transactions in between …
/// assert!(advisory_core::unlock(&mut *conn, "nightly").await?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// A `lock_timeout` or a cancelled statement is [`Error::Database`], not "not acquired": the lock may have been granted all the
/// same. Look in `pg_locks`, or close the connection.
///
/// # Cancel safety
///
/// Not cancel safe: the server goes on waiting, and the session then holds a lock that nobody knows of. Close the connection.
pub async fn lock(mut executor: impl LockExecutor, key: impl Into<Key>) -> Result<(), Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    let answer = function::lock(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await.map(drop)
}

/// Waits for a shared lock that the session holds until [`unlock_shared`] or its end (`pg_advisory_lock_shared`).
///
/// # Errors
///
/// A `lock_timeout` or a cancelled statement is [`Error::Database`], not "not acquired": the lock may have been granted all the
/// same. Look in `pg_locks`, or close the connection.
///
/// # Cancel safety
///
/// Not cancel safe: the server goes on waiting, and the session then holds a lock that nobody knows of. Close the connection.
pub async fn lock_shared(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<(), Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    let answer = function::lock_shared(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await.map(drop)
}

/// Takes an exclusive session lock if it is free (`pg_try_advisory_lock`); `false` if not.
///
/// ```no_run
/// use advisory_core::Error;
///
/// # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), Error> {
/// if advisory_core::try_lock(&mut *conn, "nightly").await? {
///     // …
///     advisory_core::unlock(&mut *conn, "nightly").await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// Not cancel safe: the session may hold the lock or not. Close the connection, or look in `pg_locks`.
pub async fn try_lock(mut executor: impl LockExecutor, key: impl Into<Key>) -> Result<bool, Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    let answer = function::try_lock(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await
}

/// Takes a shared session lock if no one holds or waits for the exclusive one (`pg_try_advisory_lock_shared`); `false` if not.
///
/// # Cancel safety
///
/// Not cancel safe: the session may hold the lock or not. Close the connection, or look in `pg_locks`.
pub async fn try_lock_shared(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    let answer = function::try_lock_shared(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await
}

/// Releases an exclusive session lock once (`pg_advisory_unlock`). Returns what the server said: `false` if this session did not hold it.
///
/// # Cancel safety
///
/// The lock may be held or not; asking once more tells, at the price of a warning in the server's log.
pub async fn unlock(mut executor: impl LockExecutor, key: impl Into<Key>) -> Result<bool, Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    function::unlock(executor.connection(), key)
        .await
        .map_err(|error| failure(error, key))
}

/// Releases a shared session lock once (`pg_advisory_unlock_shared`). Returns what the server said: `false` if this session did not hold it.
///
/// # Cancel safety
///
/// The lock may be held or not; asking once more tells, at the price of a warning in the server's log.
pub async fn unlock_shared(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    let key = key.into();
    ready(executor.connection()).await?;
    function::unlock_shared(executor.connection(), key)
        .await
        .map_err(|error| failure(error, key))
}

/// Waits for an exclusive lock that is held until the transaction ends (`pg_advisory_xact_lock`).
///
/// If the wait fails, the transaction is aborted; [`AdvisoryLock::acquire_xact`] keeps it usable.
///
/// ```no_run
/// use advisory_core::Error;
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let mut tx = pool.begin().await?;
/// advisory_core::xact_lock(&mut tx, "account:1").await?;
/// // … others who want it wait until this is done …
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::NotInTransaction`] outside a transaction, where nothing is sent; [`Error::NotAcquired`] if the server has a
/// `lock_timeout` and it was over.
///
/// # Cancel safety
///
/// Dropping the future does not end the wait: the server stays in the queue, and once granted, holds the lock until the
/// transaction ends. Bound the wait with [`AdvisoryLock::acquire_xact`], or end it by rolling back.
pub async fn xact_lock(mut executor: impl LockExecutor, key: impl Into<Key>) -> Result<(), Error> {
    let key = key.into();
    in_transaction(&mut executor)?;
    let started = Instant::now();
    ready(executor.connection()).await?;
    let answer = function::xact_lock(executor.connection(), key).await;
    let answer = answer.map_err(|error| not_in_time(error, key, started))?;
    acquired(answer, executor.connection(), key).await.map(drop)
}

/// Waits for a shared lock that is held until the transaction ends (`pg_advisory_xact_lock_shared`).
///
/// Otherwise as [`xact_lock`].
///
/// # Cancel safety
///
/// Dropping the future does not end the wait: the server stays in the queue, and once granted, holds the lock until the
/// transaction ends. Bound the wait with [`AdvisoryLock::acquire_xact`], or end it by rolling back.
pub async fn xact_lock_shared(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<(), Error> {
    let key = key.into();
    in_transaction(&mut executor)?;
    let started = Instant::now();
    ready(executor.connection()).await?;
    let answer = function::xact_lock_shared(executor.connection(), key).await;
    let answer = answer.map_err(|error| not_in_time(error, key, started))?;
    acquired(answer, executor.connection(), key).await.map(drop)
}

/// Takes an exclusive lock until the transaction ends if it is free (`pg_try_advisory_xact_lock`); `false` if not.
///
/// ```no_run
/// use advisory_core::Error;
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let mut tx = pool.begin().await?;
/// if advisory_core::try_xact_lock(&mut tx, "nightly").await? {
///     // …
/// }
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::NotInTransaction`] outside a transaction, where nothing is sent.
///
/// # Cancel safety
///
/// The lock may be held or not; in either case it is free when the transaction ends.
pub async fn try_xact_lock(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    let key = key.into();
    in_transaction(&mut executor)?;
    ready(executor.connection()).await?;
    let answer = function::try_xact_lock(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await
}

/// Takes a shared lock until the transaction ends if no one holds or waits for the exclusive one
/// (`pg_try_advisory_xact_lock_shared`); `false` if not.
///
/// Otherwise as [`try_xact_lock`].
///
/// # Cancel safety
///
/// The lock may be held or not; in either case it is free when the transaction ends.
pub async fn try_xact_lock_shared(
    mut executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    let key = key.into();
    in_transaction(&mut executor)?;
    ready(executor.connection()).await?;
    let answer = function::try_xact_lock_shared(executor.connection(), key).await;
    let answer = answer.map_err(|error| failure(error, key))?;
    acquired(answer, executor.connection(), key).await
}

/// Releases every advisory lock the session holds, exclusive and shared (`pg_advisory_unlock_all`).
///
/// Transaction locks stay: they end with their transaction.
///
/// ```no_run
/// use advisory_core::Error;
///
/// # async fn example(conn: &mut sqlx::PgConnection) -> Result<(), Error> {
/// advisory_core::lock(&mut *conn, "rows").await?;
/// advisory_core::lock_shared(&mut *conn, "schema").await?;
/// advisory_core::unlock_all(&mut *conn).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// The locks may be held or not; asking once more does no harm.
pub async fn unlock_all(mut executor: impl LockExecutor) -> Result<(), Error> {
    ready(executor.connection()).await?;
    Ok(function::unlock_all(executor.connection()).await?)
}

fn in_transaction(executor: &mut impl LockExecutor) -> Result<(), Error> {
    let found = executor.connection().is_in_transaction();
    found.then_some(()).ok_or(Error::NotInTransaction)
}

/// What the server has answered, if it is to be believed.
async fn acquired(
    answer: Option<Answer>,
    conn: &mut PgConnection,
    key: Key,
) -> Result<bool, Error> {
    let Answer { acquired, server } = answer.ok_or_else(state::standby)?;
    if acquired {
        check_lock_on(&server, &key.into(), conn).await?;
    }
    Ok(acquired)
}

/// A transaction lock that timed out was not granted, or is free again with the transaction that the timeout has aborted.
fn not_in_time(error: sqlx::Error, key: Key, started: Instant) -> Error {
    if state::is_lock_timeout(&error) {
        return Error::NotAcquired {
            lock: Box::new(key.into()),
            waited: started.elapsed(),
            holders: Vec::new(),
        };
    }
    failure(error, key)
}

fn failure(error: sqlx::Error, key: Key) -> Error {
    state::failure(error, &AdvisoryLock::from(key))
}
