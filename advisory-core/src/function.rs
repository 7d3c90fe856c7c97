//! PostgreSQL's advisory lock functions: one statement each.

use std::time::Instant;

use sqlx::{Connection as _, Row as _};

use crate::error::{Error, UnsupportedReason};
use crate::executor::LockExecutor;
use crate::key::Key;
use crate::lock::{AdvisoryLock, Mode, Wait};
use crate::probe::check_lock_on;
use crate::sql::function::{self, Answer};
use crate::sql::send::{drain, send, send_for_row, send_wait};
use crate::sql::{Function, sqlstate};
use crate::time_bounds::DEFAULT_RESPONSE_TIMEOUT;

/// Waits for an exclusive lock that the session holds until [`unlock`] or its end
/// (`pg_advisory_lock`).
///
/// A session may take one lock several times; each needs its own [`unlock`]. Rolling back does not
/// release it. Do not use it on a connection to which a pooler lends a session for a transaction:
/// the lock stays behind in a session that another client gets next. [`AdvisoryLock::acquire`]
/// detects such a pooler; this function cannot.
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
/// A `lock_timeout` or a cancelled statement is [`Error::Database`], not "not acquired": the lock
/// may have been granted nevertheless. Look in `pg_locks`, or close the connection.
///
/// # Cancel safety
///
/// Not cancel safe: the server continues to wait, and the session then holds a lock that nobody
/// owns. Close the connection.
pub async fn lock(executor: impl LockExecutor, key: impl Into<Key>) -> Result<(), Error> {
    call(executor, Function::Lock, Mode::Exclusive, key.into())
        .await
        .map(drop)
}

/// Waits for a shared lock that the session holds until [`unlock_shared`] or its end
/// (`pg_advisory_lock_shared`).
///
/// # Errors
///
/// A `lock_timeout` or a cancelled statement is [`Error::Database`], not "not acquired": the lock
/// may have been granted nevertheless. Look in `pg_locks`, or close the connection.
///
/// # Cancel safety
///
/// Not cancel safe: the server continues to wait, and the session then holds a lock that nobody
/// owns. Close the connection.
pub async fn lock_shared(executor: impl LockExecutor, key: impl Into<Key>) -> Result<(), Error> {
    call(executor, Function::Lock, Mode::Shared, key.into())
        .await
        .map(drop)
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
/// Not cancel safe: the session may hold the lock or not. Close the connection, or look in
/// `pg_locks`.
pub async fn try_lock(executor: impl LockExecutor, key: impl Into<Key>) -> Result<bool, Error> {
    call(executor, Function::TryLock, Mode::Exclusive, key.into()).await
}

/// Takes a shared session lock if nobody holds it exclusively or waits to
/// (`pg_try_advisory_lock_shared`); `false` if not.
///
/// # Cancel safety
///
/// Not cancel safe: the session may hold the lock or not. Close the connection, or look in
/// `pg_locks`.
pub async fn try_lock_shared(
    executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    call(executor, Function::TryLock, Mode::Shared, key.into()).await
}

/// Releases an exclusive session lock once (`pg_advisory_unlock`). Returns the server's answer:
/// `false` if this session did not hold it.
///
/// # Cancel safety
///
/// The lock may be held or not. A second call shows which, and may cause a warning in the server's
/// log.
pub async fn unlock(executor: impl LockExecutor, key: impl Into<Key>) -> Result<bool, Error> {
    release(executor, Mode::Exclusive, key.into()).await
}

/// Releases a shared session lock once (`pg_advisory_unlock_shared`). Returns the server's answer:
/// `false` if this session did not hold it.
///
/// # Cancel safety
///
/// The lock may be held or not. A second call shows which, and may cause a warning in the server's
/// log.
pub async fn unlock_shared(
    executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    release(executor, Mode::Shared, key.into()).await
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
/// // … others wait for it until the transaction ends …
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::NotInTransaction`] outside a transaction, where nothing is sent; [`Error::NotAcquired`]
/// if the server has a `lock_timeout` and it fired.
///
/// # Cancel safety
///
/// Dropping the future does not end the wait: the server stays in the queue, and after the grant it
/// holds the lock until the transaction ends. The next statement of the transaction, its rollback
/// included, waits until then. [`AdvisoryLock::acquire_xact`] with a
/// [`timeout`](AdvisoryLock::timeout) bounds the wait.
pub async fn xact_lock(executor: impl LockExecutor, key: impl Into<Key>) -> Result<(), Error> {
    call_in_transaction(executor, Function::XactLock, Mode::Exclusive, key.into())
        .await
        .map(drop)
}

/// Waits for a shared lock that is held until the transaction ends
/// (`pg_advisory_xact_lock_shared`).
///
/// Otherwise as [`xact_lock`].
///
/// # Cancel safety
///
/// Dropping the future does not end the wait: the server stays in the queue, and after the grant it
/// holds the lock until the transaction ends. The next statement of the transaction, its rollback
/// included, waits until then. [`AdvisoryLock::acquire_xact`] with a
/// [`timeout`](AdvisoryLock::timeout) bounds the wait.
pub async fn xact_lock_shared(
    executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<(), Error> {
    call_in_transaction(executor, Function::XactLock, Mode::Shared, key.into())
        .await
        .map(drop)
}

/// Takes an exclusive lock until the transaction ends if it is free (`pg_try_advisory_xact_lock`);
/// `false` if not.
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
/// The lock may be held or not; in either case it is released when the transaction ends.
pub async fn try_xact_lock(
    executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    call_in_transaction(executor, Function::TryXactLock, Mode::Exclusive, key.into()).await
}

/// Takes a shared lock until the transaction ends if nobody holds it exclusively or waits to
/// (`pg_try_advisory_xact_lock_shared`); `false` if not.
///
/// Otherwise as [`try_xact_lock`].
///
/// # Cancel safety
///
/// The lock may be held or not; in either case it is released when the transaction ends.
pub async fn try_xact_lock_shared(
    executor: impl LockExecutor,
    key: impl Into<Key>,
) -> Result<bool, Error> {
    call_in_transaction(executor, Function::TryXactLock, Mode::Shared, key.into()).await
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
/// The locks may be held or not. A second call does no harm.
pub async fn unlock_all(mut executor: impl LockExecutor) -> Result<(), Error> {
    let conn = executor.connection();
    drain(conn).await?;
    send(conn, function::unlock_all()).await?;
    Ok(())
}

/// Calls a function that locks. False if it has not locked.
async fn call(
    mut executor: impl LockExecutor,
    function: Function,
    mode: Mode,
    key: Key,
) -> Result<bool, Error> {
    let (conn, lock) = (executor.connection(), AdvisoryLock::from(key));
    drain(conn).await?;
    let started = Instant::now();
    let wait = if function.waits() {
        Wait::Server
    } else {
        Wait::No
    };
    let rows = send_wait(conn, wait, function::lock(function, mode, key)).await;
    let rows = rows.map_err(|error| {
        let error = Error::of_lock(error, lock.id());
        if function.waits() {
            error.during_wait(lock.id(), started.elapsed(), Vec::new())
        } else {
            error
        }
    })?;
    let Answer { acquired, server } = match rows {
        Some(rows) => {
            let row = rows.first();
            let row = row.ok_or_else(|| Error::unsupported(UnsupportedReason::Standby))?;
            Answer::read(function, row)?
        }
        None => Answer::after_wait(),
    };
    if acquired {
        check_lock_on(&server, lock.id(), DEFAULT_RESPONSE_TIMEOUT, conn).await?;
    }
    Ok(acquired)
}

/// Calls a function that locks until the transaction ends. A wait that the server's `lock_timeout`
/// has ended leaves no lock: it has aborted the transaction.
async fn call_in_transaction(
    mut executor: impl LockExecutor,
    function: Function,
    mode: Mode,
    key: Key,
) -> Result<bool, Error> {
    if !executor.connection().is_in_transaction() {
        return Err(Error::NotInTransaction);
    }
    let started = Instant::now();
    match call(executor, function, mode, key).await {
        Err(Error::Database(error)) if sqlstate::is_lock_timeout(&error) => {
            let lock = AdvisoryLock::from(key);
            Err(Error::not_acquired(
                lock.id(),
                started.elapsed(),
                Vec::new(),
            ))
        }
        called => called,
    }
}

async fn release(mut executor: impl LockExecutor, mode: Mode, key: Key) -> Result<bool, Error> {
    let conn = executor.connection();
    drain(conn).await?;
    let row = send_for_row(conn, function::unlock(mode, key)).await;
    let row = row.map_err(|error| Error::of_lock(error, AdvisoryLock::from(key).id()))?;
    Ok(row.try_get(0)?)
}
