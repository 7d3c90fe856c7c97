//! A lock with a transaction of its own.

use sqlx::PgTransaction;
use sqlx::postgres::{PgPool, PgTransactionManager};
use sqlx_core::transaction::TransactionManager as _;

use crate::abandon::{CloseOnDrop, SettleOnDrop, close, in_time, settle};
use crate::metric::Hold;
use crate::observe::observe;
use crate::open::open;
use crate::pool::refusal;
use crate::sql::state;
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

impl AdvisoryLock {
    /// Opens a transaction that holds the lock: begin, timeout and lock in one round trip.
    ///
    /// It is an ordinary transaction of sqlx: commit it or roll it back, and dropping it rolls back, in the background. The lock is
    /// free when it has ended. Where a closure will do, [`transaction`](Self::transaction) is safer: it also ends a
    /// transaction whose owner was dropped in the middle of a long statement.
    ///
    /// The transaction is of the server's default isolation, unless [`isolation`](Self::isolation) says otherwise. If that default
    /// is not `READ COMMITTED`, its snapshot is older than the lock, and reads what was there before the wait: set the isolation.
    /// While a statement runs, the server looks every 500 ms whether this client is still there
    /// (`client_connection_check_interval`, set until the transaction ends).
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
    /// [`Error::NotAcquired`] when the wait is over. A pool that has no connection to give is [`Error::Database`] with
    /// [`sqlx::Error::PoolTimedOut`], within the same deadline. Otherwise [`Error::Deadlock`], [`Error::LockTableFull`] and
    /// [`Error::Database`]; [`Error::Unsupported`] outside a tokio runtime, on a standby, and on a server that locks nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection if it has begun to open the transaction: the pool has its place back at
    /// once, nobody waits for the lock, and the server has dropped what it held or waited for within a second.
    pub async fn begin(&self, pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
        begin(self, pool).await
    }

    /// Opens a transaction that holds the lock if it is to be had; `None` if not.
    ///
    /// If no wait is set, it does not wait: two round trips if the lock is to be had, one if not. Otherwise as
    /// [`begin`](Self::begin).
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
        try_begin(self, pool, self.try_wait()).await
    }

    /// Runs a closure in a transaction that holds the lock: commits on `Ok`, rolls back on `Err`, on a panic and when it is
    /// dropped.
    ///
    /// Two round trips of its own, one before the closure and one after. Nothing but the closure tells its error type: end it with
    /// `Ok::<_, Error>(…)` if no `?` in it does.
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
    /// Those of the closure, and those of [`begin`](Self::begin) and of the commit, by `E: From<Error>`. A closure that returns
    /// `Ok` although one of its statements has failed commits nothing: PostgreSQL answers the commit of an aborted transaction
    /// with a rollback, silently.
    ///
    /// # Cancel safety
    ///
    /// Before the closure runs, as [`begin`](Self::begin). Dropped inside the closure, the transaction is rolled back in the
    /// background; if the server is busy with a statement and has not answered after a second, its connection is closed.
    /// Dropped during the commit, the transaction is committed, or not.
    pub async fn transaction<T, E, F>(&self, pool: &PgPool, body: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        OwnTransaction::begin(self, pool).await?.run(body).await
    }

    /// Runs a closure in a transaction that holds the lock, or skips it: `None` if the lock is not to be had.
    ///
    /// If no wait is set, it does not wait: three round trips if the lock is to be had, one if not. Otherwise as
    /// [`transaction`](Self::transaction).
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
    ///     None => println!("another instance is at it"),
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
        match OwnTransaction::try_begin(self, pool, self.try_wait()).await? {
            Some(transaction) => transaction.run(body).await.map(Some),
            None => Ok(None),
        }
    }
}

/// A transaction opened here. It is rolled back when it is dropped, whatever its connection is busy with.
#[derive(Debug)]
pub(crate) struct OwnTransaction {
    transaction: Option<PgTransaction<'static>>,
    hold: Option<Hold>,
}

impl OwnTransaction {
    pub(crate) async fn begin(lock: &AdvisoryLock, pool: &PgPool) -> Result<Self, Error> {
        Ok(Self::holding(begin(lock, pool).await?))
    }

    pub(crate) async fn try_begin(
        lock: &AdvisoryLock,
        pool: &PgPool,
        wait: Wait,
    ) -> Result<Option<Self>, Error> {
        Ok(try_begin(lock, pool, wait).await?.map(Self::holding))
    }

    pub(crate) fn get(&mut self) -> &mut PgTransaction<'static> {
        self.transaction.as_mut().expect(TAKEN)
    }

    /// Commits, or rolls back.
    pub(crate) async fn finish(mut self, commit: bool) -> Result<(), Error> {
        let transaction = self.transaction.take().expect(TAKEN);
        if commit {
            return Ok(SettleOnDrop::new(Box::pin(end_by_commit(transaction))).await?);
        }
        // The body's error is the one to tell. A statement that the body has given up may run for hours.
        let rollback = CloseOnDrop::new(Box::pin(end_by_rollback(transaction)));
        SettleOnDrop::new(Box::pin(in_time(rollback))).await;
        Ok(())
    }

    async fn run<T, E, F>(mut self, body: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let result = body(self.get()).await;
        self.finish(result.is_ok()).await?;
        result
    }

    pub(crate) fn new(transaction: PgTransaction<'static>) -> Self {
        Self {
            transaction: Some(transaction),
            hold: None,
        }
    }

    /// For as long as the lock is held, not just until it is handed on.
    fn holding(transaction: PgTransaction<'static>) -> Self {
        let mut held = Self::new(transaction);
        held.hold = Some(Hold::start("xact"));
        held
    }

    /// The transaction, in the hands of sqlx.
    pub(crate) fn into_inner(mut self) -> PgTransaction<'static> {
        self.transaction.take().expect(TAKEN)
    }
}

/// A connection that fails to roll back is closed. What is still on its way to the client, of a `COPY` that was given up, say,
/// would be taken for the answer to whatever is asked next.
async fn end_by_rollback(mut transaction: PgTransaction<'static>) {
    if PgTransactionManager::rollback(&mut transaction)
        .await
        .is_err()
    {
        close(transaction);
    }
}

/// The same holds for a commit, unless the error is surely its own.
async fn end_by_commit(mut transaction: PgTransaction<'static>) -> Result<(), sqlx::Error> {
    let committed = PgTransactionManager::commit(&mut transaction).await;
    if committed
        .as_ref()
        .is_err_and(|error| !state::is_refused_commit(error))
    {
        close(transaction);
    }
    committed
}

/// `finish` and `drop`, which take the transaction, are the last to see it.
const TAKEN: &str = "BUG: the transaction was taken before its end";

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            settle(Box::pin(end_by_rollback(transaction)));
        }
    }
}

async fn begin(lock: &AdvisoryLock, pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
    let deadline = Deadline::start(lock.wait());
    let opened = async {
        match open(lock, pool, deadline).await? {
            Some(transaction) => Ok(transaction),
            None => Err(refusal(lock, pool, deadline).await),
        }
    };
    observe(lock, "xact", opened, |_| true).await
}

async fn try_begin(
    lock: &AdvisoryLock,
    pool: &PgPool,
    wait: Wait,
) -> Result<Option<PgTransaction<'static>>, Error> {
    observe(
        lock,
        "xact",
        open(lock, pool, Deadline::start(wait)),
        Option::is_some,
    )
    .await
}
