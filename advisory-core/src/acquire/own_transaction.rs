//! A transaction on a pool that holds a lock: how it is opened, and how it ends.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgRow, PgTransactionManager, Postgres};
use sqlx::{AssertSqlSafe, PgTransaction, SqlSafeStr as _, Transaction};
use sqlx_core::transaction::TransactionManager as _;
use tokio::sync::OwnedSemaphorePermit;

use super::attempt::{Attempt, TryOnce};
use super::queue::Body;
use crate::error::{Error, Holder};
use crate::lock::{Isolation, LockId, ScopedSetting, Wait};
use crate::on_drop::{
    DiscardOnDrop, FinishOnDrop, discard, finish_in_background, within_grace_period,
};
use crate::probe::Capabilities;
use crate::sql::send::{send, send_wait};
use crate::sql::{is_granted, level, sqlstate, transaction};
use crate::telemetry::Scope;

/// The scope of a lock in a transaction that is opened on a pool.
pub(crate) struct NewTransaction<'p>(pub(crate) &'p PgPool, pub(crate) Body);

impl TryOnce for NewTransaction<'_> {
    const SCOPE: Scope = Scope::NewTransaction;
    const SETTINGS: &'static [ScopedSetting] = &[ScopedSetting::Isolation];
    type Granted = OwnTransaction;

    fn pool(&self) -> Option<PgPool> {
        Some(self.0.clone())
    }

    fn body(&self) -> Option<Body> {
        Some(self.1)
    }

    fn keep(transaction: &mut OwnTransaction, place: OwnedSemaphorePermit) {
        transaction.place = Some(place);
    }

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<OwnTransaction>, Error> {
        let capabilities = Capabilities::of(self.0);
        let mut roll_back_first = false;
        loop {
            let mut conn = attempt.check_out(self.0).await?;
            let wait = attempt.wait();
            if roll_back_first {
                let rolled_back = send(&mut *conn, transaction::ROLLBACK);
                attempt.within(Wait::No, rolled_back).await?;
            }
            let opened = async {
                let opened = open(attempt, &capabilities, conn, wait).await?;
                let Some(mut transaction) = opened else {
                    return Ok(None);
                };
                let conn = transaction.get();
                capabilities.check_lock(attempt.lock(), conn).await?;
                Ok(Some(transaction))
            };
            match attempt.within(wait, opened).await {
                // The next message has another order: see `sql::transaction::begin_isolated`.
                Err(Error::Database(error)) if capabilities.note_old_snapshot(&error) => {}
                // The next message waits for a slot.
                Err(Error::Database(error)) if capabilities.note_no_free_slot(&error) => {}
                // Other code has left an aborted transaction in the pool, which refuses every
                // message. The connection is in the pool again.
                Err(Error::Database(error))
                    if !roll_back_first && sqlstate::is_aborted_before(&error) =>
                {
                    roll_back_first = true;
                }
                opened => return opened,
            }
        }
    }

    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        Ok(attempt.holders_via(self.0).await)
    }
}

/// Opens a transaction that holds the lock; `None` if the lock was not granted.
async fn open(
    attempt: &Attempt<'_>,
    capabilities: &Capabilities,
    conn: PoolConnection<Postgres>,
    wait: Wait,
) -> Result<Option<OwnTransaction>, Error> {
    let (lock, check) = (attempt.id(), capabilities.client_check());
    let isolation = attempt.lock().isolation_level();
    let has_old_snapshot = match isolation {
        None => capabilities.has_old_snapshots(),
        Some(Isolation::ReadCommitted) => false,
        Some(Isolation::RepeatableRead | Isolation::Serializable) => true,
    };
    if has_old_snapshot {
        let message = transaction::begin_isolated(lock, wait, isolation, check);
        let note_level = isolation.is_none();
        return open_if_granted(attempt, capabilities, conn, wait, &message, note_level).await;
    }
    if wait == Wait::No {
        let message = transaction::begin_and_try(lock, isolation, check);
        return open_if_granted(attempt, capabilities, conn, wait, &message, false).await;
    }
    if lock.semaphore().is_some() && !capabilities.has_contended_slots() {
        let message = transaction::begin_if_free(lock, isolation, check);
        match begin_with(conn, attempt.mark(&message)).await {
            Ok(transaction) => return Ok(Some(transaction)),
            // The next message waits.
            Err(error) if sqlstate::is_no_free_slot(&error) => return Err(error.into()),
            Err(error) => return Err(capabilities.failure(error, lock)),
        }
    }
    let message = transaction::begin_and_lock(lock, wait, isolation, check);
    match begin_with(conn, attempt.mark(&message)).await {
        Ok(transaction) => Ok(Some(transaction)),
        Err(error) if sqlstate::is_lock_timeout(&error) => Ok(None),
        Err(error) => Err(capabilities.failure(error, lock)),
    }
}

/// Sends a message that opens a transaction and reports whether the lock was granted. Then sqlx
/// learns of the transaction, or it is rolled back.
async fn open_if_granted(
    attempt: &Attempt<'_>,
    capabilities: &Capabilities,
    conn: PoolConnection<Postgres>,
    wait: Wait,
    message: &str,
    note_level: bool,
) -> Result<Option<OwnTransaction>, Error> {
    let (lock, message) = (attempt.id(), attempt.mark(message));
    let (conn, rows) = DiscardOnDrop::new(send_owned(conn, wait, message)).await;
    if note_level
        && let Ok(Some(rows)) = &rows
        && let Ok(level) = level(rows)
    {
        capabilities.note_level(level);
    }
    match rows.and_then(|rows| is_granted(rows.as_deref())) {
        Ok(true) => {
            let transaction = begin_with(conn, attempt.mark(transaction::EMPTY_QUERY)).await;
            Ok(Some(
                transaction.map_err(|error| Error::of_lock(error, lock))?,
            ))
        }
        Ok(false) => {
            finish_in_background(roll_back_untracked(conn));
            Ok(None)
        }
        Err(error) if sqlstate::is_lock_timeout(&error) => Ok(None),
        // The session may hold the lock now.
        Err(error) => {
            discard(conn);
            Err(capabilities.failure(error, lock))
        }
    }
}

async fn send_owned(
    mut conn: PoolConnection<Postgres>,
    wait: Wait,
    message: String,
) -> (
    PoolConnection<Postgres>,
    Result<Option<Vec<PgRow>>, sqlx::Error>,
) {
    let rows = send_wait(&mut conn, wait, message).await;
    (conn, rows)
}

/// Ends a transaction that sqlx does not track.
async fn roll_back_untracked(mut conn: PoolConnection<Postgres>) {
    if send(&mut *conn, transaction::ROLLBACK).await.is_err() {
        discard(conn);
    }
}

async fn begin_with(
    conn: PoolConnection<Postgres>,
    message: String,
) -> Result<OwnTransaction, sqlx::Error> {
    // `Transaction::begin` is hidden, and the only way to a transaction on a connection that was
    // checked out before: `Pool::begin_with` checks out its own, without our deadline. sqlx's
    // drivers call it, too.
    let message = AssertSqlSafe(message).into_sql_str();
    let transaction = DiscardOnDrop::new(Transaction::begin(conn, Some(message))).await?;
    Ok(OwnTransaction {
        transaction: Some(transaction),
        place: None,
    })
}

/// A transaction that was opened here. Dropping it rolls it back, whatever its connection is busy
/// with.
#[derive(Debug)]
pub(crate) struct OwnTransaction {
    transaction: Option<PgTransaction<'static>>,
    /// What the body needs of the pool.
    place: Option<OwnedSemaphorePermit>,
}

/// `finish`, `into_inner` and `drop`, which take the transaction, consume the owner.
const TAKEN: &str = "BUG: the transaction was taken before its end";

impl OwnTransaction {
    pub(crate) fn get(&mut self) -> &mut PgTransaction<'static> {
        self.transaction.as_mut().expect(TAKEN)
    }

    /// The transaction, as sqlx's own.
    pub(super) fn into_inner(mut self) -> PgTransaction<'static> {
        self.transaction.take().expect(TAKEN)
    }

    /// Commits, or rolls back. [`Error::Lost`] if the transaction has ended before.
    pub(crate) async fn finish(mut self, lock: &LockId, commit: bool) -> Result<(), Error> {
        let transaction = self.transaction.take().expect(TAKEN);
        if commit {
            if PgTransactionManager::get_transaction_depth(&transaction) != 1 {
                discard(transaction);
                return Err(Error::lost(lock));
            }
            return Ok(FinishOnDrop::new(end_with_commit(transaction)).await?);
        }
        // The body's error is the one to return. A statement that the body has dropped may run for
        // hours.
        let rollback = within_grace_period(end_with_rollback(transaction));
        FinishOnDrop::new(rollback).await;
        Ok(())
    }
}

impl Drop for OwnTransaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            finish_in_background(end_with_rollback(transaction));
        }
    }
}

/// A connection that fails to roll back is closed. The rest of a dropped `COPY`, for example, would
/// be taken for the response to the next statement.
async fn end_with_rollback(mut transaction: PgTransaction<'static>) {
    let rolled_back = PgTransactionManager::rollback(&mut transaction).await;
    if rolled_back.is_err() {
        discard(transaction);
    }
}

/// The same holds for a commit, unless the server refused the commit itself.
async fn end_with_commit(mut transaction: PgTransaction<'static>) -> Result<(), sqlx::Error> {
    let committed = PgTransactionManager::commit(&mut transaction).await;
    let is_fault = |error| !sqlstate::is_refused_commit(error);
    if committed.as_ref().is_err_and(is_fault) {
        discard(transaction);
    }
    committed
}
