//! A lock in a new transaction of sea-orm's.

use sea_orm::{DatabaseConnection, DatabaseTransaction, TransactionTrait as _};
use sqlx::postgres::PgPool;
use tokio::sync::OwnedSemaphorePermit;

use super::{ask, from_sea_orm, granted, pool, send};
use crate::acquire::attempt::{Attempt, TryOnce, acquire, try_acquire};
use crate::acquire::queue::Body;
use crate::error::{Error, Holder};
use crate::lock::{AdvisoryLock, LockId, ScopedSetting, Wait};
use crate::nesting::Held;
use crate::on_drop::{
    DiscardOnDrop, FinishOnDrop, discard, finish_in_background, within_grace_period,
};
use crate::sql::{caller_transaction, row_count, sqlstate, transaction};
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

impl AdvisoryLock {
    /// Opens a transaction of sea-orm's that holds the lock.
    ///
    /// As [`begin`](Self::begin), but for the type: the transaction is sea-orm's, and belongs to
    /// the pool of this `DatabaseConnection`. Two round trips, because sea-orm sends the `BEGIN` of
    /// its transaction alone.
    ///
    /// ```no_run
    /// use advisory_core::AdvisoryLock;
    /// use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr};
    ///
    /// # async fn example(db: &DatabaseConnection) -> Result<(), DbErr> {
    /// let tx = AdvisoryLock::new("outbox").begin_sea_orm(db).await?;
    /// tx.execute_unprepared("DELETE FROM outbox WHERE sent").await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin), and [`Error::Unsupported`] unless the connection is one to
    /// PostgreSQL: on another database, a mock and a proxy.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    pub async fn begin_sea_orm(
        &self,
        db: &DatabaseConnection,
    ) -> Result<DatabaseTransaction, Error> {
        let transaction = acquire(self, NewSeaOrmTransaction::new(db)?).await?;
        Ok(transaction.into_inner())
    }

    /// Opens a transaction of sea-orm's that holds the lock; `None` if the lock is not granted in
    /// time.
    ///
    /// If no wait is set, it does not wait. Otherwise as [`begin_sea_orm`](Self::begin_sea_orm).
    ///
    /// # Errors
    ///
    /// As [`begin_sea_orm`](Self::begin_sea_orm), but never [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    pub async fn try_begin_sea_orm(
        &self,
        db: &DatabaseConnection,
    ) -> Result<Option<DatabaseTransaction>, Error> {
        let transaction = try_acquire(self, NewSeaOrmTransaction::new(db)?).await?;
        Ok(transaction.map(OwnSeaOrmTransaction::into_inner))
    }

    /// Runs a closure in a transaction of sea-orm's that holds the lock. Commits on `Ok`; rolls
    /// back on `Err`, on a panic, and when it is dropped.
    ///
    /// Two round trips before the closure and two after it: before the commit, the server is asked
    /// whether the transaction is still open.
    ///
    /// ```no_run
    /// use advisory_core::AdvisoryLock;
    /// use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr};
    ///
    /// # async fn example(db: &DatabaseConnection) -> Result<(), DbErr> {
    /// let lock = AdvisoryLock::new("counter");
    /// lock.transaction_sea_orm(db, async |tx| {
    ///     tx.execute_unprepared("UPDATE counter SET n = n + 1").await?;
    ///     Ok::<_, DbErr>(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction) and [`begin_sea_orm`](Self::begin_sea_orm).
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn transaction_sea_orm<T, E, F>(
        &self,
        db: &DatabaseConnection,
        body: F,
    ) -> Result<T, E>
    where
        F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
        E: From<Error>,
    {
        let scope = NewSeaOrmTransaction::new(db)?;
        let held = Held::on_pool(self.id(), scope.pool);
        run(held, acquire(self, scope).await?, body).await
    }

    /// Runs a closure in a transaction of sea-orm's that holds the lock; `None` if the lock is not
    /// granted in time, and the closure does not run.
    ///
    /// If no wait is set, it does not wait. Otherwise as
    /// [`transaction_sea_orm`](Self::transaction_sea_orm).
    ///
    /// # Errors
    ///
    /// As [`transaction_sea_orm`](Self::transaction_sea_orm), but never [`Error::NotAcquired`] of
    /// this lock.
    ///
    /// # Cancel safety
    ///
    /// As [`transaction`](Self::transaction).
    pub async fn try_transaction_sea_orm<T, E, F>(
        &self,
        db: &DatabaseConnection,
        body: F,
    ) -> Result<Option<T>, E>
    where
        F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
        E: From<Error>,
    {
        let scope = NewSeaOrmTransaction::new(db)?;
        let held = Held::on_pool(self.id(), scope.pool);
        match try_acquire(self, scope).await? {
            Some(transaction) => run(held, transaction, body).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn run<T, E, F>(held: Held, transaction: OwnSeaOrmTransaction, body: F) -> Result<T, E>
where
    F: AsyncFnOnce(&DatabaseTransaction) -> Result<T, E>,
    E: From<Error>,
{
    let _hold = Hold::start(held.lock(), Scope::NewTransaction);
    let body = body(transaction.get());
    let result = held.clone().around(body).await;
    transaction.finish(held.lock(), result.is_ok()).await?;
    result
}

/// The scope of a lock in a transaction of sea-orm's that is opened on its pool.
pub(crate) struct NewSeaOrmTransaction<'d> {
    db: &'d DatabaseConnection,
    pub(crate) pool: &'d PgPool,
}

impl<'d> NewSeaOrmTransaction<'d> {
    pub(crate) fn new(db: &'d DatabaseConnection) -> Result<Self, Error> {
        Ok(Self {
            db,
            pool: pool(db)?,
        })
    }
}

impl TryOnce for NewSeaOrmTransaction<'_> {
    const SCOPE: Scope = Scope::NewTransaction;
    const SETTINGS: &'static [ScopedSetting] = &[ScopedSetting::Isolation];
    type Granted = OwnSeaOrmTransaction;

    fn pool(&self) -> Option<PgPool> {
        Some(self.pool.clone())
    }

    fn body(&self) -> Option<Body> {
        Some(Body::Inside)
    }

    fn keep(transaction: &mut OwnSeaOrmTransaction, place: OwnedSemaphorePermit) {
        transaction.place = Some(place);
    }

    async fn try_once(
        &mut self,
        attempt: &Attempt<'_>,
    ) -> Result<Option<OwnSeaOrmTransaction>, Error> {
        let db = self.db.clone();
        let opened = DiscardOnDrop::new(async move { db.begin().await.map_err(from_sea_orm) });
        let transaction = attempt.within_deadline(Box::pin(opened)).await?;
        attempt.note_asking();
        let wait = attempt.wait();
        attempt.within(wait, open(attempt, transaction, wait)).await
    }

    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        Ok(attempt.holders_via(self.pool).await)
    }
}

/// Puts a transaction that holds the lock in the place of this one; `None` if the lock was not
/// granted.
async fn open(
    attempt: &Attempt<'_>,
    begun: DatabaseTransaction,
    wait: Wait,
) -> Result<Option<OwnSeaOrmTransaction>, Error> {
    let (lock, isolation) = (attempt.id(), attempt.lock().isolation_level());
    let message = row_count::begin_again(lock, wait, isolation);
    let text = attempt.mark(&message.text);
    let asked = DiscardOnDrop::new(async move {
        let answer = ask(&begun, &message, &text).await;
        (begun, answer)
    });
    let (begun, answer) = asked.await;
    match answer {
        Ok(answer) => match granted(answer) {
            Ok(true) => Ok(Some(OwnSeaOrmTransaction {
                transaction: Some(begun),
                place: None,
            })),
            Ok(false) => {
                give_back(attempt, async move {
                    begun.rollback().await.map_err(from_sea_orm)
                })
                .await;
                Ok(None)
            }
            Err(error) => {
                discard(begun);
                Err(error)
            }
        },
        // The session is idle, and sqlx counts a transaction, which its rollback is to find.
        Err(error) if sqlstate::is_lock_timeout(&error) => {
            give_back(attempt, async move {
                send(&begun, transaction::BEGIN).await?;
                begun.rollback().await.map_err(from_sea_orm)
            })
            .await;
            Ok(None)
        }
        // The session may hold the lock now.
        Err(error) => {
            discard(begun);
            Err(Error::of_lock(error, lock))
        }
    }
}

/// Ends a refused transaction in the background, or before the holders are listed, of which it
/// would be one: the server reports a timeout before it frees the keys that it had granted.
async fn give_back(
    attempt: &Attempt<'_>,
    rollback: impl Future<Output = Result<(), sqlx::Error>> + Send + 'static,
) {
    if attempt.explains() {
        within_grace_period(rollback).await;
    } else {
        finish_in_background(rollback);
    }
}

/// A transaction of sea-orm's that was opened here. Dropping it rolls it back, whatever its
/// connection is busy with.
#[derive(Debug)]
pub(crate) struct OwnSeaOrmTransaction {
    transaction: Option<DatabaseTransaction>,
    /// What the body needs of the pool.
    place: Option<OwnedSemaphorePermit>,
}

/// `finish`, `into_inner` and `drop`, which take the transaction, consume the owner.
const TAKEN: &str = "BUG: the transaction was taken before its end";

impl OwnSeaOrmTransaction {
    pub(crate) fn get(&self) -> &DatabaseTransaction {
        self.transaction.as_ref().expect(TAKEN)
    }

    fn into_inner(mut self) -> DatabaseTransaction {
        self.transaction.take().expect(TAKEN)
    }

    /// Commits, or rolls back. [`Error::Lost`] if the transaction has ended before.
    pub(crate) async fn finish(mut self, lock: &LockId, commit: bool) -> Result<(), Error> {
        let transaction = self.transaction.take().expect(TAKEN);
        if !commit {
            // The body's error is the one to return.
            within_grace_period(transaction.rollback()).await;
            return Ok(());
        }
        // sea-orm commits nothing, and reports no error, if a nested `begin` that was dropped
        // half-way has rolled the transaction back.
        let commit = async move {
            match send(&transaction, &caller_transaction::set_savepoint()).await {
                Err(error) if sqlstate::is_outside_a_transaction(&error) => {
                    discard(transaction);
                    return Ok(false);
                }
                // An aborted transaction ends with its commit.
                Err(error) if !sqlstate::is_aborted_before(&error) => return Err(error),
                _ => {}
            }
            transaction.commit().await.map_err(from_sea_orm)?;
            Ok(true)
        };
        if FinishOnDrop::new(commit).await? {
            Ok(())
        } else {
            Err(Error::lost(lock))
        }
    }
}

impl Drop for OwnSeaOrmTransaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            finish_in_background(transaction.rollback());
        }
    }
}
