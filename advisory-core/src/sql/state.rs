//! What the server's errors mean to a lock.

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::{AdvisoryLock, Error};

/// `lock_not_available`: a `lock_timeout` has fired.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// `deadlock_detected`: the server chose this transaction to break a deadlock.
const DEADLOCK_DETECTED: &str = "40P01";
/// `out_of_memory`, which is how a full lock table is reported.
const OUT_OF_MEMORY: &str = "53200";

/// `read_only_sql_transaction`: what is refused on a standby, and nowhere else of what is said here.
const READ_ONLY_SQL_TRANSACTION: &str = "25006";
/// `undefined_function`, `undefined_object` (a setting, a language), `undefined_table` (a view), `feature_not_supported`,
/// `syntax_error`: what a server answers to our messages that is not PostgreSQL, or is an old one.
const UNKNOWN_TO_SERVER: [&str; 5] = ["42883", "42704", "42P01", "0A000", "42601"];

/// `invalid_parameter_value`: a setting that the platform does not have.
const INVALID_PARAMETER_VALUE: &str = "22023";

/// Classes `integrity_constraint_violation` and `transaction_rollback`.
const INTEGRITY_OR_ROLLBACK: [&str; 2] = ["23", "40"];
/// `in_failed_sql_transaction`: the transaction was aborted before.
const IN_FAILED_SQL_TRANSACTION: &str = "25P02";

/// Whether the server ended the wait because `lock_timeout` was over.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, LOCK_NOT_AVAILABLE)
}

/// Whether the server has refused a setting.
pub(crate) fn is_refused_setting(error: &sqlx::Error) -> bool {
    has_code(error, INVALID_PARAMETER_VALUE)
}

/// Whether the session is gone: it was ended with this error, or does not answer.
pub(crate) fn is_loss(error: &sqlx::Error) -> bool {
    !is_answer(error) || is_end_of_session(error)
}

/// Whether the server has ended the session with this error.
fn is_end_of_session(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    let error = error.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// Whether a transaction was refused at its end: a deferred constraint, a serialization failure.
pub(crate) fn is_refused_commit(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| {
        INTEGRITY_OR_ROLLBACK
            .iter()
            .any(|class| code.starts_with(class))
    })
}

/// Whether a statement was not run because its transaction was aborted before.
pub(crate) fn is_aborted_before(error: &sqlx::Error) -> bool {
    has_code(error, IN_FAILED_SQL_TRANSACTION)
}

/// Whether the server answered: the connection is good, and its transaction, if it has one, is aborted.
pub(crate) fn is_answer(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}

/// The error of a statement that locks, other than "not in time".
pub(crate) fn failure(error: sqlx::Error, lock: &AdvisoryLock) -> Error {
    if has_code(&error, DEADLOCK_DETECTED) {
        tracing::debug!(%lock, error = &error as &dyn std::error::Error, "deadlock");
        return Error::Deadlock {
            lock: Box::new(lock.for_error()),
        };
    }
    failure_of_message(error)
}

/// The error of any message of ours.
pub(crate) fn failure_of_message(error: sqlx::Error) -> Error {
    if has_code(&error, OUT_OF_MEMORY) {
        return Error::LockTableFull;
    }
    if has_code(&error, READ_ONLY_SQL_TRANSACTION) {
        return standby();
    }
    if UNKNOWN_TO_SERVER.iter().any(|code| has_code(&error, code)) {
        return unknown_to_server(&error);
    }
    Error::Database(error)
}

/// The server is a standby.
pub(crate) fn standby() -> Error {
    let what = "this server is a standby, whose advisory locks bind nobody on the primary or on other standbys; \
                connect to the primary (`target_session_attrs`, a writer endpoint)";
    Error::Unsupported { what: what.into() }
}

fn unknown_to_server(error: &sqlx::Error) -> Error {
    let said = error.as_database_error().map_or("", DatabaseError::message);
    let what = format!(
        "this server does not know what advisory locks need ({said}); expected PostgreSQL 14 or later"
    );
    Error::Unsupported { what: what.into() }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .is_some_and(|c| c == code)
}
