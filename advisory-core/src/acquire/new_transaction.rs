//! A lock in a new transaction.

use sqlx::PgTransaction;
use sqlx::postgres::PgPool;

use super::attempt::{acquire, try_acquire};
use super::own_transaction::{NewTransaction, OwnTransaction};
use super::queue::Body;
use crate::error::Error;
use crate::lock::AdvisoryLock;
use crate::nesting::Held;
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

impl AdvisoryLock {
    /// Opens a transaction that holds the lock: begin, timeout and lock in one round trip.
    ///
    /// It is an ordinary transaction of sqlx: commit it or roll it back. Dropping it rolls it back
    /// in the background. The lock is released when it ends. Prefer
    /// [`transaction`](Self::transaction) where a closure is enough: it also ends a transaction
    /// whose owner is dropped in the middle of a long statement.
    ///
    /// The transaction has the session's default isolation level, unless
    /// [`isolation`](Self::isolation) is set. At every level, its first statement sees what the
    /// previous holder of the lock has committed. While a statement runs, the server checks every
    /// 500 ms whether this client is still there (`client_connection_check_interval`, set until the
    /// transaction ends).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = AdvisoryLock::new("outbox").begin(pool).await?;
    /// sqlx::query("DELETE FROM outbox WHERE sent").execute(&mut *tx).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotAcquired`] when the wait is over. An exhausted pool is [`Error::Database`] with
    /// [`sqlx::Error::PoolTimedOut`], within the same deadline. [`Error::Deadlock`],
    /// [`Error::LockTableFull`] and other errors of the server as [`Error::Database`].
    /// [`Error::Unsupported`] outside a tokio runtime, on a standby, on a server that locks
    /// nothing, with settings of other scopes, and in the body of a call that holds the lock on
    /// another connection ([`NestedWait`](crate::UnsupportedReason::NestedWait)).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes its connection or rolls it back, if it has begun to open the
    /// transaction. The pool's slot is free at once, and within two seconds the server neither
    /// holds nor waits for the lock.
    pub async fn begin(&self, pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
        let transaction = acquire(self, NewTransaction(pool, Body::Inside)).await?;
        Ok(transaction.into_inner())
    }

    /// Opens a transaction that holds the lock; `None` if the lock is not granted in time.
    ///
    /// If no wait is set, it does not wait: two round trips if the lock is granted, one if not.
    /// Otherwise as [`begin`](Self::begin).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// if let Some(tx) = AdvisoryLock::new("outbox").try_begin(pool).await? {
    ///     // …
    ///     tx.commit().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), but never [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    pub async fn try_begin(&self, pool: &PgPool) -> Result<Option<PgTransaction<'static>>, Error> {
        let transaction = try_acquire(self, NewTransaction(pool, Body::Inside)).await?;
        Ok(transaction.map(OwnTransaction::into_inner))
    }

    /// Runs a closure in a transaction that holds the lock. Commits on `Ok`; rolls back on `Err`,
    /// on a panic, and when it is dropped.
    ///
    /// Two round trips of its own, one before the closure and one after. The compiler infers the
    /// error type from the closure alone: end it with `Ok::<_, Error>(…)`.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("counter");
    /// let count: i64 = lock
    ///     .transaction(pool, async |tx| {
    ///         let next = "UPDATE counter SET n = n + 1 RETURNING n";
    ///         Ok::<_, Error>(sqlx::query_scalar(next).fetch_one(&mut **tx).await?)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the transaction has ended before the closure did: a nested `begin` of
    /// sqlx's that is dropped half-way rolls the outer transaction back. Those of the closure, and
    /// those of [`begin`](Self::begin) and of the commit, by `E: From<Error>`. A closure that
    /// returns `Ok` although one of its statements has failed commits nothing: PostgreSQL silently
    /// rolls back an aborted transaction at its commit.
    ///
    /// # Cancel safety
    ///
    /// Before the closure runs, as [`begin`](Self::begin). Dropped inside the closure, the
    /// transaction is rolled back in the background; if the server is busy with a statement and has
    /// not answered after a second, the connection is closed. Dropped during the commit, the
    /// transaction may be committed or not.
    pub async fn transaction<T, E, F>(&self, pool: &PgPool, body: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let transaction = acquire(self, NewTransaction(pool, Body::Inside)).await?;
        run(Held::on_pool(self.id(), pool), transaction, body).await
    }

    /// Runs a closure in a transaction that holds the lock; `None` if the lock is not granted in
    /// time, and the closure does not run.
    ///
    /// If no wait is set, it does not wait: three round trips if the lock is granted, one if not.
    /// Otherwise as [`transaction`](Self::transaction).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("outbox");
    /// let swept = lock
    ///     .try_transaction(pool, async |tx| {
    ///         let sweep = sqlx::query("DELETE FROM outbox WHERE sent");
    ///         Ok::<_, Error>(sweep.execute(&mut **tx).await?.rows_affected())
    ///     })
    ///     .await?;
    /// match swept {
    ///     Some(rows) => println!("{rows} rows"),
    ///     None => println!("another instance does it"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction), but never [`Error::NotAcquired`] of this lock.
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn try_transaction<T, E, F>(&self, pool: &PgPool, body: F) -> Result<Option<T>, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        match try_acquire(self, NewTransaction(pool, Body::Inside)).await? {
            Some(transaction) => {
                let held = Held::on_pool(self.id(), pool);
                run(held, transaction, body).await.map(Some)
            }
            None => Ok(None),
        }
    }
}

/// Runs a body in the transaction that holds its lock.
pub(crate) async fn run<T, E, F>(
    held: Held,
    mut transaction: OwnTransaction,
    body: F,
) -> Result<T, E>
where
    F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
    E: From<Error>,
{
    let _hold = Hold::start(held.lock(), Scope::NewTransaction);
    let body = body(transaction.get());
    let result = held.clone().around(body).await;
    transaction.finish(held.lock(), result.is_ok()).await?;
    result
}
