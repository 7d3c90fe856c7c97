//! A lock in the caller's transaction of sea-orm's.

use std::time::{Duration, Instant};

use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseTransaction, Statement, Value};

use super::{ask, check_backend, granted, send, server_error};
use crate::acquire::attempt::{Attempt, TryOnce};
use crate::acquire::caller_transaction::warn_of_old_snapshot;
use crate::acquire::cancel::CancelOnDrop;
use crate::error::{Error, Holder};
use crate::lock::{LockId, ScopedSetting, Wait};
use crate::sql::holder::prepared_holders;
use crate::sql::row_count::{self, Answer};
use crate::sql::{caller_transaction, sqlstate};
use crate::telemetry::Scope;

/// The scope of a lock in the caller's transaction, as
/// [`CallerTransaction`](crate::acquire::caller_transaction::CallerTransaction).
pub(super) struct SeaOrmTransaction<'t> {
    transaction: &'t DatabaseTransaction,
    /// Whether a timeout has aborted the transaction after our savepoint.
    is_aborted: bool,
}

impl<'t> SeaOrmTransaction<'t> {
    pub(super) fn new(transaction: &'t DatabaseTransaction) -> Result<Self, Error> {
        check_backend(transaction)?;
        Ok(Self {
            transaction,
            is_aborted: false,
        })
    }
}

impl TryOnce for SeaOrmTransaction<'_> {
    const SCOPE: Scope = Scope::CallerTransaction;
    const SETTINGS: &'static [ScopedSetting] = &[ScopedSetting::CancelVia];
    type Granted = ();

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<()>, Error> {
        // Several keys are not tried first: those that are free would stay locked if the wait
        // fails.
        if attempt.wait() == Wait::No || attempt.id().keys().len() == 1 {
            let granted = self.try_lock(attempt).await?;
            if granted.is_some() || attempt.wait() == Wait::No {
                return Ok(granted);
            }
        }
        let (wait, started) = (attempt.wait(), Instant::now());
        match self.lock_with_wait(attempt).await {
            Ok(answer) => read(attempt, answer),
            // A wait that was dropped before has ended with this error: ours was not sent.
            Err(error) if is_of_another_wait(wait, started.elapsed(), &error) => Err(error.into()),
            Err(error) if sqlstate::is_lock_timeout(&error) => {
                self.is_aborted = true;
                Ok(None)
            }
            Err(error) if sqlstate::is_outside_a_transaction(&error) => {
                Err(Error::NotInTransaction)
            }
            // The transaction was aborted before: there is no savepoint of ours to return to.
            Err(error) if sqlstate::is_aborted_before(&error) => Err(error.into()),
            Err(error) => {
                if !sqlstate::is_loss(&error) {
                    self.send(attempt, &caller_transaction::roll_back_to_savepoint())
                        .await?;
                }
                Err(Error::of_lock(error, attempt.id()))
            }
        }
    }

    /// Makes the transaction usable again, and lists the holders.
    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        let message = match (self.is_aborted, attempt.explains()) {
            (false, false) => return Ok(Vec::new()),
            (true, false) => caller_transaction::roll_back_to_savepoint(),
            (false, true) => caller_transaction::set_savepoint(),
            (true, true) => caller_transaction::return_to_savepoint(),
        };
        self.send(attempt, &message).await?;
        if !attempt.explains() {
            return Ok(Vec::new());
        }
        match attempt.within(Wait::No, self.holders(attempt.id())).await {
            Ok(holders) => {
                let release = caller_transaction::release_savepoint();
                self.send(attempt, &release).await?;
                Ok(holders)
            }
            Err(error) if sqlstate::is_loss(&error) => Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "cannot list the holders of the lock");
                self.send(attempt, &caller_transaction::roll_back_to_savepoint())
                    .await?;
                Ok(Vec::new())
            }
        }
    }
}

impl SeaOrmTransaction<'_> {
    async fn send(&self, attempt: &Attempt<'_>, message: &str) -> Result<(), sqlx::Error> {
        let sent = send(self.transaction, message);
        attempt.within(Wait::No, sent).await.map(drop)
    }

    async fn try_lock(&self, attempt: &Attempt<'_>) -> Result<Option<()>, Error> {
        let message = row_count::try_lock(attempt.id());
        let text = attempt.mark(&message.text);
        let answer = ask(self.transaction, &message, &text);
        // A wait that was dropped before is answered first.
        let answer = attempt.within(attempt.wait(), answer).await;
        let answer = answer.map_err(|error| {
            if sqlstate::is_outside_a_transaction(&error) {
                Error::NotInTransaction
            } else {
                Error::of_lock(error, attempt.id())
            }
        })?;
        read(attempt, answer)
    }

    /// Waits after a savepoint, to which a failed wait can return.
    async fn lock_with_wait(&self, attempt: &Attempt<'_>) -> Result<Answer, sqlx::Error> {
        let wait = attempt.wait();
        let cancel = CancelOnDrop::new(attempt.lock().cancel_pool());
        let message = row_count::lock_after_savepoint(attempt.id(), wait);
        let text = cancel.mark(attempt.mark(&message.text));
        let answer = async {
            let answer = ask(self.transaction, &message, &text).await;
            cancel.answered();
            answer
        };
        attempt.within(wait, answer).await
    }

    async fn holders(&self, lock: &LockId) -> Result<Vec<Holder>, sqlx::Error> {
        let (text, parameters) = prepared_holders(lock);
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            text,
            parameters.map(bigint_array),
        );
        let rows = self.transaction.query_all_raw(statement).await;
        let rows = rows.map_err(server_error)?;
        Holder::read_all(rows.iter().filter_map(|row| row.try_as_pg_row()))
    }
}

fn read(attempt: &Attempt<'_>, answer: Answer) -> Result<Option<()>, Error> {
    if answer == Answer::GrantedWithOldSnapshot {
        warn_of_old_snapshot(attempt.lock(), "other than read committed");
    }
    Ok(granted(answer)?.then_some(()))
}

fn bigint_array(items: Vec<i64>) -> Value {
    let items = items.into_iter().map(Value::from).collect();
    Value::Array(ArrayType::BigInt, Some(Box::new(items)))
}

/// Whether this `lock_timeout` has fired too early to be that of a wait that has just begun.
fn is_of_another_wait(wait: Wait, waited: Duration, error: &sqlx::Error) -> bool {
    // The server rounds to milliseconds.
    const ROUNDING: Duration = Duration::from_millis(2);
    let is_early = match wait {
        Wait::For(limit) => waited + ROUNDING < limit,
        Wait::Forever => true,
        Wait::No | Wait::Server => false,
    };
    is_early && sqlstate::is_lock_timeout(error)
}
