//! Locks in sea-orm's transactions, and in transactions of sea-orm's on its pool.
//!
//! sea-orm hands out its pool, but not the connection of a transaction. There, messages go through
//! `ConnectionTrait::execute_unprepared`, which sends them as they are and returns a number of rows
//! alone: see [`row_count`](crate::sql::row_count).

mod caller_transaction;
mod new_transaction;

use std::sync::Arc;

use sea_orm::{
    ConnAcquireErr, ConnectionTrait as _, DatabaseBackend, DatabaseConnection,
    DatabaseConnectionType, DatabaseTransaction, DbErr, RuntimeErr,
};
use sqlx::postgres::PgPool;

use self::caller_transaction::SeaOrmTransaction;
pub(crate) use self::new_transaction::{NewSeaOrmTransaction, OwnSeaOrmTransaction};
use super::attempt::{acquire, try_acquire};
use super::session::{SessionSource, sealed};
use crate::error::{Error, UnsupportedReason};
use crate::executor::{TransactionExecutor, sealed as executor_sealed};
use crate::lock::AdvisoryLock;
use crate::period::PeriodicLock;
use crate::session::SessionGuard;
use crate::sql::row_count::{Answer, Message};

impl executor_sealed::Sealed for &DatabaseTransaction {}

impl TransactionExecutor for &DatabaseTransaction {
    async fn acquire_xact(self, lock: &AdvisoryLock) -> Result<(), Error> {
        acquire(lock, SeaOrmTransaction::new(self)?).await
    }

    async fn try_acquire_xact(self, lock: &AdvisoryLock) -> Result<bool, Error> {
        let granted = try_acquire(lock, SeaOrmTransaction::new(self)?).await?;
        Ok(granted.is_some())
    }
}

impl sealed::Sealed for DatabaseConnection {}

/// A connection of its pool holds the lock.
impl SessionSource for DatabaseConnection {
    type Guard = SessionGuard;

    fn pool_of(&self) -> Result<&PgPool, Error> {
        pool(self)
    }

    async fn acquire(&self, lock: &AdvisoryLock) -> Result<SessionGuard, Error> {
        SessionSource::acquire(pool(self)?, lock).await
    }

    async fn try_acquire(&self, lock: &AdvisoryLock) -> Result<Option<SessionGuard>, Error> {
        SessionSource::try_acquire(pool(self)?, lock).await
    }
}

/// The pool of a connection, if it is PostgreSQL's.
pub(crate) fn pool(db: &DatabaseConnection) -> Result<&PgPool, Error> {
    // Which other variants exist depends on sea-orm's features.
    if let DatabaseConnectionType::SqlxPostgresPoolConnection(_) = db.inner {
        Ok(db.get_postgres_connection_pool())
    } else {
        Err(Error::unsupported(UnsupportedReason::NotPostgres))
    }
}

/// Refuses a transaction of another database.
fn check_backend(transaction: &DatabaseTransaction) -> Result<(), Error> {
    match transaction.get_database_backend() {
        DatabaseBackend::Postgres => Ok(()),
        _ => Err(Error::unsupported(UnsupportedReason::NotPostgres)),
    }
}

/// Marks the period of a job in the transaction that holds its lock. Whether it was open.
pub(crate) async fn claim(
    transaction: &DatabaseTransaction,
    lock: &PeriodicLock,
) -> Result<bool, Error> {
    let changed = send(transaction, &lock.claim_statement()).await;
    Ok(changed.map_err(|error| lock.failure(error))? > 0)
}

/// Sends a message that needs no answer, and returns the number of its rows.
async fn send(transaction: &DatabaseTransaction, message: &str) -> Result<u64, sqlx::Error> {
    let result = transaction.execute_unprepared(message).await;
    Ok(result.map_err(server_error)?.rows_affected())
}

/// Sends a message that asks for a lock, and returns what became of it.
async fn ask(
    transaction: &DatabaseTransaction,
    message: &Message,
    text: &str,
) -> Result<Answer, sqlx::Error> {
    let rows = send(transaction, text).await?;
    let not_postgres = || Error::unsupported(UnsupportedReason::NotPostgres).into();
    message.read(rows).ok_or_else(not_postgres)
}

/// The error of a statement. A mock and a proxy have errors of their own, which no server sent.
fn server_error(error: DbErr) -> sqlx::Error {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(_))
        | DbErr::Query(RuntimeErr::SqlxError(_))
        | DbErr::Conn(RuntimeErr::SqlxError(_))
        | DbErr::ConnectionAcquire(_) => from_sea_orm(error),
        _ => Error::unsupported(UnsupportedReason::NotPostgres).into(),
    }
}

fn from_sea_orm(error: DbErr) -> sqlx::Error {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))
        | DbErr::Conn(RuntimeErr::SqlxError(error)) => {
            let shared = |error| sqlx::Error::AnyDriverError(Box::new(error));
            Arc::try_unwrap(error).unwrap_or_else(shared)
        }
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => sqlx::Error::PoolTimedOut,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => sqlx::Error::PoolClosed,
        other => sqlx::Error::AnyDriverError(Box::new(other)),
    }
}

/// The error stays reachable: `advisory_core::Error::from` restores it.
impl From<Error> for DbErr {
    fn from(error: Error) -> Self {
        match sqlx::Error::from(error) {
            sqlx::Error::PoolTimedOut => Self::ConnectionAcquire(ConnAcquireErr::Timeout),
            sqlx::Error::PoolClosed => Self::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            error => Self::Query(RuntimeErr::SqlxError(Arc::new(error))),
        }
    }
}

/// Restores an error that was converted into sea-orm's; any other error is [`Error::Database`].
impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        from_sea_orm(error).into()
    }
}

/// Reads an answer. `false` if the lock was not granted.
fn granted(answer: Answer) -> Result<bool, Error> {
    match answer {
        Answer::Refused => Ok(false),
        Answer::Granted | Answer::GrantedWithOldSnapshot => Ok(true),
        Answer::Standby => Err(Error::unsupported(UnsupportedReason::Standby)),
        Answer::NotHeld => Err(Error::unsupported(UnsupportedReason::LocksDoNothing)),
    }
}
