//! What the server's errors mean. SQLSTATEs are named in PostgreSQL's Appendix A.

use std::io::ErrorKind;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// `lock_not_available`: a `lock_timeout` has fired.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// `deadlock_detected`: the server chose this transaction to break a deadlock.
const DEADLOCK_DETECTED: &str = "40P01";
/// `serialization_failure`: the transaction cannot be serialized with others.
const SERIALIZATION_FAILURE: &str = "40001";
/// `out_of_memory`, which reports a full lock table, too.
const OUT_OF_MEMORY: &str = "53200";
/// `read_only_sql_transaction`: of our messages, only those to a standby, and those that write into
/// a table, are refused with it.
const READ_ONLY_SQL_TRANSACTION: &str = "25006";
/// `undefined_object`: a setting that does not exist.
const UNDEFINED_OBJECT: &str = "42704";
/// `undefined_function`, `undefined_object` (a setting, a language), `undefined_table` (a view),
/// `feature_not_supported`, `syntax_error`: how a server that is not PostgreSQL, or an old one,
/// answers our messages.
const UNKNOWN_TO_SERVER: [&str; 5] = ["42883", UNDEFINED_OBJECT, "42P01", "0A000", "42601"];
/// `undefined_table`.
const UNDEFINED_TABLE: &str = "42P01";
/// `invalid_schema_name`: the schema does not exist.
const INVALID_SCHEMA_NAME: &str = "3F000";
/// `invalid_parameter_value`: a setting that the platform does not support.
const INVALID_PARAMETER_VALUE: &str = "22023";
/// `invalid_text_representation`: of our messages, only `REFUSE_OLD_SNAPSHOT` causes it.
const INVALID_TEXT_REPRESENTATION: &str = "22P02";
/// `insufficient_privilege`: the role may not read a view, call a function or signal a backend.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// The class `invalid_authorization_specification`: a login is refused.
const INVALID_AUTHORIZATION: &str = "28";
/// The classes `integrity_constraint_violation` and `transaction_rollback`.
const INTEGRITY_OR_ROLLBACK: [&str; 2] = ["23", "40"];
/// `query_canceled`: a `statement_timeout`, or a request to cancel the statement.
const QUERY_CANCELED: &str = "57014";
/// The codes of a server's timeouts, other than `statement_timeout`, and their settings.
const TIMEOUTS: [(&str, &str); 3] = [
    ("25P03", "idle_in_transaction_session_timeout"),
    ("25P04", "transaction_timeout"),
    ("57P05", "idle_session_timeout"),
];
/// The class `connection_exception`: PgBouncer answers with 08P01 while its server is away, while
/// it has no connection left, and for most other reasons.
const CONNECTION_EXCEPTION: &str = "08";
/// The classes `connection_exception` (also the errors of PgBouncer), `insufficient_resources`,
/// `operator_intervention`, `system_error` (also the errors of pgpool-II), `internal_error`, and
/// the timeouts of another class.
const INTERRUPTIONS: [&str; 7] = [
    CONNECTION_EXCEPTION,
    "53",
    "57",
    "58",
    "XX",
    TIMEOUTS[0].0,
    TIMEOUTS[1].0,
];
/// Parts of PgBouncer's messages whose errors do not pass by themselves. The last five are the
/// server's own, which PgBouncer passes on, not always with their SQLSTATE.
const LASTING: [&str; 11] = [
    "no such database",
    "no such user",
    "unsupported startup parameter",
    "bouncer config error",
    "login rejected",
    " required",
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "is not permitted to log in",
    "permission denied",
];
/// The classes `invalid_transaction_state`, `transaction_rollback` and
/// `object_not_in_prerequisite_state`.
const CONFLICTS: [&str; 3] = ["25", "40", "55"];
/// `no_active_sql_transaction`: the transaction has ended before.
#[cfg(feature = "sea-orm")]
const NO_ACTIVE_SQL_TRANSACTION: &str = "25P01";
/// `in_failed_sql_transaction`: the transaction was aborted before.
const IN_FAILED_SQL_TRANSACTION: &str = "25P02";

/// Whether the server ended the wait because `lock_timeout` fired.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, LOCK_NOT_AVAILABLE)
}

pub(crate) fn is_deadlock(error: &sqlx::Error) -> bool {
    has_code(error, DEADLOCK_DETECTED)
}

pub(crate) fn is_serialization_failure(error: &sqlx::Error) -> bool {
    has_code(error, SERIALIZATION_FAILURE)
}

pub(crate) fn is_lock_table_full(error: &sqlx::Error) -> bool {
    has_code(error, OUT_OF_MEMORY)
}

pub(crate) fn is_read_only(error: &sqlx::Error) -> bool {
    has_code(error, READ_ONLY_SQL_TRANSACTION)
}

/// Whether the server lacks what our messages need.
pub(crate) fn is_unknown_to_server(error: &sqlx::Error) -> bool {
    UNKNOWN_TO_SERVER.iter().any(|code| has_code(error, code))
}

/// Whether a table does not exist, or its schema.
pub(crate) fn is_undefined_table(error: &sqlx::Error) -> bool {
    has_code(error, UNDEFINED_TABLE) || has_code(error, INVALID_SCHEMA_NAME)
}

/// Whether a statement was cancelled.
pub(crate) fn is_cancelled(error: &sqlx::Error) -> bool {
    has_code(error, QUERY_CANCELED)
}

/// Whether the server refused the value of a setting.
pub(crate) fn is_refused_setting(error: &sqlx::Error) -> bool {
    has_code(error, INVALID_PARAMETER_VALUE)
}

/// Whether the message was refused because its snapshot would be older than its lock.
pub(crate) fn is_old_snapshot(error: &sqlx::Error) -> bool {
    has_code(error, INVALID_TEXT_REPRESENTATION)
}

/// Whether the role lacks a right on a view or a function that the message reads. The rights to
/// signal a backend are checked elsewhere in the server.
pub(crate) fn is_denied_object(error: &sqlx::Error) -> bool {
    let denied = pg_error(error).and_then(PgDatabaseError::routine);
    has_code(error, INSUFFICIENT_PRIVILEGE) && denied == Some("aclcheck_error")
}

/// Whether the server refused the login of this role, with which it refuses the next one, too.
pub(crate) fn is_refused_login(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with(INVALID_AUTHORIZATION))
}

/// Whether the server refused a statement because of what other sessions do: a transaction that is
/// rolled back, an object that is in use or in another state.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| CONFLICTS.iter().any(|class| code.starts_with(class)))
}

/// Whether a server, or what stands before it, refuses a connection for a reason that does not pass
/// by itself, although it looks like an interruption.
pub fn is_lasting(error: &sqlx::Error) -> bool {
    match error {
        // What the TLS library refuses: a certificate, an alert, an answer that is not TLS.
        sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        sqlx::Error::Database(error) => {
            let is_of_pooler = error
                .code()
                .is_some_and(|code| code.starts_with(CONNECTION_EXCEPTION));
            is_of_pooler && LASTING.iter().any(|text| error.message().contains(text))
        }
        _ => false,
    }
}

/// What has ended a statement from outside.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// A setting, of the server or of a pooler.
    Setting(String),
    Cancelled,
    SessionEnded,
    Other,
}

/// Whether a statement was ended from outside.
pub(crate) fn is_interruption(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            let mut classes = INTERRUPTIONS.iter();
            classes.any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_) => true,
        _ => false,
    }
}

/// What has ended a statement for which [`is_interruption`] is true.
pub(crate) fn interruption(error: &sqlx::Error) -> Interruption {
    let message = error.as_database_error().map_or("", DatabaseError::message);
    let mut timeouts = TIMEOUTS.iter();
    if let Some((_, setting)) = timeouts.find(|(code, _)| has_code(error, code)) {
        return Interruption::Setting((*setting).to_owned());
    }
    if has_code(error, QUERY_CANCELED) && message.ends_with("statement timeout") {
        return Interruption::Setting("statement_timeout".to_owned());
    }
    // PgBouncer's message is the name of its setting.
    let is_setting = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if message.ends_with("_timeout") && message.bytes().all(is_setting) {
        return Interruption::Setting(message.to_owned());
    }
    if has_code(error, QUERY_CANCELED) {
        return Interruption::Cancelled;
    }
    if is_loss(error) {
        return Interruption::SessionEnded;
    }
    Interruption::Other
}

/// Whether a pooler had no session for a message, which was not run.
pub(crate) fn is_pooler_full(error: &sqlx::Error) -> bool {
    // PgBouncer's message is the name of its setting.
    let message = error.as_database_error().map(DatabaseError::message);
    message == Some("query_wait_timeout")
}

/// A setting that does not exist, by whose absence a message says that no slot is free.
pub(super) const FREE_SLOT: &str = "advisory.free_slot";

/// Whether a message did not wait for one of several slots; see [`FREE_SLOT`].
pub(crate) fn is_no_free_slot(error: &sqlx::Error) -> bool {
    let names_it = |error: &dyn DatabaseError| error.message().contains(FREE_SLOT);
    has_code(error, UNDEFINED_OBJECT) && error.as_database_error().is_some_and(names_it)
}

/// Whether a transaction was refused at its end: a deferred constraint, a serialization failure.
pub(crate) fn is_refused_commit(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    let is_of = |code: &str| {
        INTEGRITY_OR_ROLLBACK
            .iter()
            .any(|class| code.starts_with(class))
    };
    code.is_some_and(|code| is_of(&code))
}

/// Whether a statement did not run because its transaction was aborted before.
pub(crate) fn is_aborted_before(error: &sqlx::Error) -> bool {
    has_code(error, IN_FAILED_SQL_TRANSACTION)
}

/// Whether a statement did not run because no transaction is open.
#[cfg(feature = "sea-orm")]
pub(crate) fn is_outside_a_transaction(error: &sqlx::Error) -> bool {
    has_code(error, NO_ACTIVE_SQL_TRANSACTION)
}

/// Whether the server answered: the connection works, and its transaction, if it has one, is
/// aborted.
pub(crate) fn is_answer(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}

/// Whether the session is gone: the server ended it with this error, or does not answer.
pub(crate) fn is_loss(error: &sqlx::Error) -> bool {
    !is_answer(error) || is_end_of_session(error)
}

fn is_end_of_session(error: &sqlx::Error) -> bool {
    let severity = pg_error(error).map(PgDatabaseError::severity);
    matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
}

fn pg_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    let found = error.as_database_error().and_then(DatabaseError::code);
    found.is_some_and(|found| found == code)
}
