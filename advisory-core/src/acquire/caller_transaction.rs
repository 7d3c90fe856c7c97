//! A lock in the caller's transaction.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Row as _};

use super::attempt::{Attempt, TryOnce, acquire, try_acquire};
use super::cancel::CancelOnDrop;
use crate::error::{Error, Holder, UnsupportedReason};
use crate::executor::{LockExecutor, TransactionExecutor};
use crate::lock::{AdvisoryLock, ScopedSetting, Wait};
use crate::probe::check_lock_on;
use crate::sql::caller_transaction::{self, GrantContext};
use crate::sql::holder::holders;
use crate::sql::send::{drain, send, send_for_row, send_wait};
use crate::sql::sqlstate;
use crate::telemetry::Scope;

impl AdvisoryLock {
    /// Waits for the lock in the caller's transaction, which holds it until it ends.
    ///
    /// Takes `&mut` of a transaction, or of a connection inside one. Rolling back to an earlier
    /// savepoint releases the lock, as PostgreSQL documents; releasing that savepoint keeps it. A
    /// nested `begin()` of sqlx is such a savepoint.
    ///
    /// With the feature `sea-orm`, it takes `&` of sea-orm's `DatabaseTransaction` as well. There,
    /// an error that names the holders costs two round trips more, and three the first time on a
    /// connection.
    ///
    /// One round trip if the lock is free, two after a wait, three if it is not granted in time.
    /// While it waits, the server checks every 500 ms whether this client is still there
    /// (`client_connection_check_interval`, set until the transaction ends).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = pool.begin().await?;
    /// let lock = AdvisoryLock::all(["account:1", "account:2"]);
    /// lock.acquire_xact(&mut tx).await?;
    /// // … nobody else changes these two accounts …
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotAcquired`] when the wait is over: the transaction is usable, its `lock_timeout`
    /// is unchanged, and of several keys none is held. The same holds after [`Error::Deadlock`],
    /// though a new transaction is the better answer to a deadlock. [`Error::NotInTransaction`]
    /// outside a transaction, where nothing is sent. [`Error::Unsupported`] on a standby, on a
    /// server that locks nothing, and with settings of other scopes. Otherwise
    /// [`Error::LockTableFull`] and [`Error::Database`], as a rule with the transaction aborted.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits does not end the wait: the connection belongs to the
    /// caller. The server stays in the queue until the lock is granted or the timeout fires. The
    /// next use of the transaction, including its rollback, waits for that, and ending the
    /// transaction releases the lock. Set a [`timeout`](Self::timeout), cancel a dropped wait with
    /// [`cancel_via`](Self::cancel_via), or use a method that owns its connection:
    /// [`transaction`](Self::transaction), [`begin`](Self::begin).
    pub async fn acquire_xact(&self, transaction: impl TransactionExecutor) -> Result<(), Error> {
        transaction.acquire_xact(self).await
    }

    /// Takes the lock in the caller's transaction; `false` if the lock is not granted in time.
    ///
    /// If no wait is set, it does not wait. One round trip, or as
    /// [`acquire_xact`](Self::acquire_xact) with a wait. After `false` the transaction is usable,
    /// its `lock_timeout` is unchanged, and of several keys none is held.
    ///
    /// Several keys are taken in a `DO` block of PL/pgSQL, which every role may use unless that
    /// right was revoked or the language dropped.
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
    /// As [`acquire_xact`](Self::acquire_xact). If no wait is set, there is no wait to drop; the
    /// lock may then be held until the transaction ends.
    pub async fn try_acquire_xact(
        &self,
        transaction: impl TransactionExecutor,
    ) -> Result<bool, Error> {
        transaction.try_acquire_xact(self).await
    }
}

impl<T: LockExecutor> TransactionExecutor for T {
    async fn acquire_xact(mut self, lock: &AdvisoryLock) -> Result<(), Error> {
        acquire(lock, CallerTransaction::new(self.connection())).await
    }

    async fn try_acquire_xact(mut self, lock: &AdvisoryLock) -> Result<bool, Error> {
        let granted = try_acquire(lock, CallerTransaction::new(self.connection())).await?;
        Ok(granted.is_some())
    }
}

/// The scope of a lock in the caller's transaction.
pub(super) struct CallerTransaction<'c> {
    conn: &'c mut PgConnection,
    /// Whether a timeout has aborted the transaction after our savepoint.
    is_aborted: bool,
}

impl<'c> CallerTransaction<'c> {
    pub(super) fn new(conn: &'c mut PgConnection) -> Self {
        Self {
            conn,
            is_aborted: false,
        }
    }
}

impl TryOnce for CallerTransaction<'_> {
    const SCOPE: Scope = Scope::CallerTransaction;
    const SETTINGS: &'static [ScopedSetting] = &[ScopedSetting::CancelVia];
    type Granted = ();

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<()>, Error> {
        if !self.conn.is_in_transaction() {
            return Err(Error::NotInTransaction);
        }
        attempt.within(attempt.wait(), drain(self.conn)).await?;
        let lock = attempt.id();
        if attempt.wait() == Wait::No {
            let message = caller_transaction::try_lock_all_or_none(lock);
            return try_lock(attempt, self.conn, message).await;
        }
        // Several keys are not tried first: those that are free would stay locked if the wait
        // fails.
        let mut context = None;
        if lock.keys().len() == 1 {
            let message = caller_transaction::try_lock(lock);
            let (granted, found) = ask(attempt, self.conn, message).await?;
            if granted {
                return check_grant(attempt, self.conn, &found).await.map(Some);
            }
            context = Some(found);
        }
        match self.lock_with_wait(attempt).await {
            Ok(row) => {
                let context = match (context, row) {
                    (Some(context), _) => context,
                    (None, Some(row)) => GrantContext::read(&row)?,
                    (None, None) => self.grant_context(attempt).await?,
                };
                check_grant(attempt, self.conn, &context).await.map(Some)
            }
            Err(error) if sqlstate::is_lock_timeout(&error) => {
                self.is_aborted = true;
                Ok(None)
            }
            // The transaction was aborted before: there is no savepoint of ours to return to.
            Err(error) if sqlstate::is_aborted_before(&error) => Err(error.into()),
            Err(error) => {
                if !sqlstate::is_loss(&error) {
                    self.send(attempt, caller_transaction::roll_back_to_savepoint())
                        .await?;
                }
                Err(Error::of_lock(error, lock))
            }
        }
    }

    /// Makes the transaction usable again, and lists the holders in the same message.
    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        let message = match (self.is_aborted, attempt.explains()) {
            (false, false) => return Ok(Vec::new()),
            (false, true) => caller_transaction::after_savepoint(&holders(attempt.id())),
            (true, false) => caller_transaction::roll_back_to_savepoint(),
            (true, true) => caller_transaction::roll_back_to_savepoint_and(&holders(attempt.id())),
        };
        let rows = self.send(attempt, message).await;
        match rows.and_then(|rows| Holder::read_all(&rows)) {
            Ok(holders) => Ok(holders),
            Err(error) if sqlstate::is_loss(&error) || !attempt.explains() => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "cannot list the holders of the lock");
                self.send(attempt, caller_transaction::roll_back_to_savepoint())
                    .await?;
                Ok(Vec::new())
            }
        }
    }
}

impl CallerTransaction<'_> {
    async fn send(
        &mut self,
        attempt: &Attempt<'_>,
        message: String,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        attempt
            .within(Wait::No, send(&mut *self.conn, message))
            .await
    }

    /// Waits after a savepoint, to which a failed wait can return. The last row, unless it waited.
    async fn lock_with_wait(
        &mut self,
        attempt: &Attempt<'_>,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        let wait = attempt.wait();
        let cancel = CancelOnDrop::new(attempt.lock().cancel_pool());
        let message = caller_transaction::lock_after_savepoint(attempt.id(), wait);
        let message = cancel.mark(attempt.mark(&message));
        let rows = async {
            let rows = send_wait(self.conn, wait, message).await;
            cancel.answered();
            rows
        };
        let rows = attempt.within(wait, rows).await?;
        Ok(rows.and_then(|mut rows| rows.pop()))
    }

    async fn grant_context(&mut self, attempt: &Attempt<'_>) -> Result<GrantContext, sqlx::Error> {
        let row = send_for_row(&mut *self.conn, attempt.mark(&GrantContext::query()));
        GrantContext::read(&attempt.within(Wait::No, row).await?)
    }
}

/// Tries the lock without waiting.
pub(super) async fn try_lock(
    attempt: &Attempt<'_>,
    conn: &mut PgConnection,
    message: String,
) -> Result<Option<()>, Error> {
    let (granted, context) = ask(attempt, conn, message).await?;
    if !granted {
        return Ok(None);
    }
    check_grant(attempt, conn, &context).await.map(Some)
}

/// Whether a message that does not wait has taken the lock, and what to check then.
async fn ask(
    attempt: &Attempt<'_>,
    conn: &mut PgConnection,
    message: String,
) -> Result<(bool, GrantContext), Error> {
    let message = attempt.mark(&message);
    let rows = attempt.within(Wait::No, send(conn, message)).await;
    let rows = rows.map_err(|error| Error::of_lock(error, attempt.id()))?;
    let row = rows
        .first()
        .ok_or_else(|| Error::unsupported(UnsupportedReason::Standby))?;
    Ok((row.try_get(0)?, GrantContext::read(row)?))
}

/// Checks a grant in a transaction of the caller.
async fn check_grant(
    attempt: &Attempt<'_>,
    conn: &mut PgConnection,
    context: &GrantContext,
) -> Result<(), Error> {
    if context.isolation != "read committed" {
        warn_of_old_snapshot(attempt.lock(), &context.isolation);
    }
    let limit = attempt.lock().response_limit();
    check_lock_on(&context.server, attempt.id(), limit, conn).await
}

/// Warns that what is read under the lock may be older than the lock.
pub(super) fn warn_of_old_snapshot(lock: &AdvisoryLock, isolation: &str) {
    tracing::warn!(
        %lock,
        isolation,
        "the transaction's snapshot is older than its lock: it does not see what the last holder has committed; \
         open it with `AdvisoryLock::isolation`"
    );
}
