//! A lock that joins the caller's transaction.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};

use crate::cancel::CancelOnDrop;
use crate::error::Holder;
use crate::executor::ready;
use crate::fitness::check_lock_on;
use crate::observe::{observe, warn_of_old_snapshot};
use crate::patience::answer;
use crate::sql::{holder, state, xact};
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error, LockExecutor};

/// What became of a wait on the caller's transaction.
enum Answer {
    Acquired,
    /// Not in time. The transaction is as it was.
    Refused(Vec<Holder>),
}

/// Whether a refusal is worth a look at who holds the lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Reported,
    Explained,
}

impl AdvisoryLock {
    /// Waits for the lock in the caller's transaction, which holds it until it ends.
    ///
    /// Takes `&mut` of a transaction, or of a connection inside one. Rolling back to a savepoint that was made before frees the
    /// lock, as PostgreSQL has it; releasing that savepoint keeps it. A nested `begin()` of sqlx is such a savepoint.
    ///
    /// One round trip if the lock is free, two if it was waited for, three if it was not to be had. While it waits, the server
    /// looks every 500 ms whether this client is still there (`client_connection_check_interval`, set until the transaction
    /// ends).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = pool.begin().await?;
    /// let lock = AdvisoryLock::all(["account:1", "account:2"]);
    /// lock.acquire_xact(&mut tx).await?;
    /// // … nobody else moves money of these two …
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotAcquired`] when the wait is over: the transaction is usable, its `lock_timeout` is what it was, and of several
    /// keys none is held. The same holds after [`Error::Deadlock`], though a deadlock is best answered by a new transaction.
    /// [`Error::NotInTransaction`] outside a transaction, where nothing is sent. [`Error::Unsupported`] on a standby, and on a server
    /// that locks nothing. Otherwise [`Error::LockTableFull`] and [`Error::Database`], as a rule with the transaction aborted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits does not end the wait: the connection is the caller's, and cannot be taken away. The
    /// server stays in the queue until the lock is granted or the timeout is over; whatever is done next with the transaction,
    /// its rollback included, waits for that, and ending the transaction frees the lock. Set a [`timeout`](Self::timeout), have
    /// the wait cancelled by [`cancel_via`](Self::cancel_via), or use a verb that owns its connection:
    /// [`transaction`](Self::transaction), [`begin`](Self::begin).
    pub async fn acquire_xact(&self, mut executor: impl LockExecutor) -> Result<(), Error> {
        let deadline = Deadline::start(self.wait());
        let joined = async {
            match join(self, executor.connection(), deadline, Refusal::Explained).await? {
                Answer::Acquired => Ok(()),
                Answer::Refused(holders) => Err(self.not_acquired(deadline.waited(), holders)),
            }
        };
        observe(self, "xact", joined, |()| true).await
    }

    /// Takes the lock in the caller's transaction if it is to be had; `false` if not.
    ///
    /// If no wait is set, it does not wait. One round trip, or as [`acquire_xact`](Self::acquire_xact) with a wait. After `false`
    /// the transaction is usable, its `lock_timeout` is what it was, and of several keys none is held.
    ///
    /// Several keys are taken in a `DO` block of PL/pgSQL, which every role may use unless that was revoked or the language dropped.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = pool.begin().await?;
    /// if AdvisoryLock::new("sync(4)").try_acquire_xact(&mut tx).await? {
    ///     // …
    /// }
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire_xact`](Self::acquire_xact), but never [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`acquire_xact`](Self::acquire_xact). Without a wait set there is no wait to drop; the lock may then be held until the
    /// transaction ends.
    pub async fn try_acquire_xact(&self, mut executor: impl LockExecutor) -> Result<bool, Error> {
        try_join(self, executor.connection(), self.try_wait()).await
    }
}

/// Waits as it is told, and reports.
pub(crate) async fn try_join(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    wait: Wait,
) -> Result<bool, Error> {
    let deadline = Deadline::start(wait);
    let joined = async {
        let answer = join(lock, conn, deadline, Refusal::Reported).await?;
        Ok(matches!(answer, Answer::Acquired))
    };
    observe(lock, "xact", joined, |acquired| *acquired).await
}

async fn join(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    deadline: Deadline,
    refusal: Refusal,
) -> Result<Answer, Error> {
    if !conn.is_in_transaction() {
        return Err(Error::NotInTransaction);
    }
    ready(conn).await?;
    let interval = match deadline.wait() {
        // Not to wait is to poll once.
        Wait::No => Some(Duration::ZERO),
        _ => lock.polling_interval(),
    };
    if let Some(interval) = interval {
        return poll(lock, conn, deadline, interval, refusal).await;
    }
    // Several keys go straight to the savepoint: those that were free would stay locked if the others never come.
    if lock.keys().len() == 1 && try_lock(lock, conn).await? {
        return Ok(Answer::Acquired);
    }
    match wait(lock, conn, deadline).await {
        Ok(row) => {
            witness(lock, conn, &row).await?;
            Ok(Answer::Acquired)
        }
        Err(error) if state::is_answer(&error) => go_back(lock, conn, refusal, error).await,
        Err(error) => Err(state::failure(error, lock)),
    }
}

async fn poll(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    deadline: Deadline,
    interval: Duration,
    refusal: Refusal,
) -> Result<Answer, Error> {
    while !try_all_or_none(lock, conn).await? {
        if !deadline.pause(interval).await {
            return Ok(Answer::Refused(explain(lock, conn, refusal).await?));
        }
    }
    Ok(Answer::Acquired)
}

/// Asks without waiting, in a transaction that is rolled back if the answer is no.
pub(crate) async fn try_lock(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<bool, Error> {
    ask(lock, conn, xact::try_lock(lock)).await
}

/// As [`try_lock`], and if the answer is no, nothing is held.
async fn try_all_or_none(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<bool, Error> {
    ask(lock, conn, xact::try_lock_all_or_none(lock)).await
}

async fn ask(lock: &AdvisoryLock, conn: &mut PgConnection, message: String) -> Result<bool, Error> {
    let row = conn.fetch_optional(sqlx::raw_sql(AssertSqlSafe(message)));
    let row = answer(lock, Wait::No, row).await;
    let row = row.map_err(|error| state::failure(error, lock))?;
    let row = row.ok_or_else(state::standby)?;
    let acquired = row.try_get(0)?;
    if acquired {
        witness(lock, conn, &row).await?;
    }
    Ok(acquired)
}

/// Waits behind a savepoint.
async fn wait(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    deadline: Deadline,
) -> Result<PgRow, sqlx::Error> {
    let cancel = CancelOnDrop::new(lock.canceller());
    let left = deadline.left();
    let message = cancel.tagged(xact::lock_after_savepoint(lock, left));
    let rows = async {
        let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(message))).await;
        cancel.answered();
        rows
    };
    let mut rows = answer(lock, left, rows).await?;
    rows.pop().ok_or(sqlx::Error::RowNotFound)
}

/// Has a look at a grant, whose row ends with its circumstances.
async fn witness(lock: &AdvisoryLock, conn: &mut PgConnection, row: &PgRow) -> Result<(), Error> {
    let (isolation, server) = xact::circumstances(row)?;
    warn_of_old_snapshot(lock, isolation);
    check_lock_on(&server, lock, conn).await
}

async fn go_back_to_savepoint(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let sent = conn.execute(sqlx::raw_sql(xact::BACK_TO_SAVEPOINT));
    answer(lock, Wait::No, sent).await.map(drop)
}

/// Makes the transaction usable again after a wait that the server has ended.
async fn go_back(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    refusal: Refusal,
    error: sqlx::Error,
) -> Result<Answer, Error> {
    // The transaction was aborted before: there is no savepoint of ours, and nothing to make usable.
    if state::is_aborted_before(&error) {
        return Err(Error::Database(error));
    }
    if state::is_lock_timeout(&error) && refusal == Refusal::Explained {
        let message = xact::back_to_savepoint_and(&holder::message(lock));
        return Ok(Answer::Refused(holders(lock, conn, message).await?));
    }
    go_back_to_savepoint(lock, conn).await?;
    if state::is_lock_timeout(&error) {
        return Ok(Answer::Refused(Vec::new()));
    }
    Err(state::failure(error, lock))
}

async fn explain(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    refusal: Refusal,
) -> Result<Vec<Holder>, Error> {
    match refusal {
        Refusal::Reported => Ok(Vec::new()),
        Refusal::Explained => {
            let message = xact::after_savepoint(&holder::message(lock));
            holders(lock, conn, message).await
        }
    }
}

/// Who holds the lock, if the server will say; whatever it says, the transaction stays usable.
async fn holders(
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
    message: String,
) -> Result<Vec<Holder>, Error> {
    match answer(lock, Wait::No, holder::ask(conn, message)).await {
        Ok(holders) => Ok(holders),
        Err(error) if state::is_loss(&error) => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "cannot say who holds the lock");
            go_back_to_savepoint(lock, conn).await?;
            Ok(Vec::new())
        }
    }
}
