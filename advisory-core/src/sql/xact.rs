//! The messages of the verbs that join the caller's transaction; see [`message`](super::message) on how they are written.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::literal::Function;
use super::message::{NOTICE_CLOSED_CLIENT, try_all_or_none, waiting};
use super::server;
use crate::AdvisoryLock;
use crate::wait::Wait;

/// What is to be known of a grant in the caller's transaction: its isolation level, in words, and the server.
const CIRCUMSTANCES: &str = concat!(
    "pg_catalog.current_setting('transaction_isolation'),",
    server!()
);

/// Reads [`CIRCUMSTANCES`] from the end of a row.
pub(crate) fn circumstances(row: &PgRow) -> Result<(&str, String), sqlx::Error> {
    let first = row.len().saturating_sub(3);
    Ok((row.try_get(first)?, server(row, first + 1)?))
}

/// On a primary; no row elsewhere.
pub(super) const ON_PRIMARY: &str = " WHERE NOT pg_catalog.pg_is_in_recovery()";

/// A name that nobody else gives to a savepoint.
macro_rules! savepoint {
    () => {
        "_advisory_core"
    };
}

/// Waits for the lock inside a transaction, and leaves the way back open: see [`BACK_TO_SAVEPOINT`].
pub(crate) fn lock_after_savepoint(lock: &AdvisoryLock, wait: Wait) -> String {
    let wait = waiting(lock, wait, &format!(",{CIRCUMSTANCES}"));
    after_savepoint(&format!("{NOTICE_CLOSED_CLIENT};{wait}"))
}

/// Runs statements that may fail inside a transaction, and leaves the way back open.
pub(crate) fn after_savepoint(statements: &str) -> String {
    format!(
        concat!(
            "SAVEPOINT ",
            savepoint!(),
            ";{};RELEASE SAVEPOINT ",
            savepoint!()
        ),
        statements
    )
}

/// Makes the transaction usable again after [`after_savepoint`] has failed; it undoes the settings as well.
pub(crate) const BACK_TO_SAVEPOINT: &str = concat!(
    "ROLLBACK TO SAVEPOINT ",
    savepoint!(),
    ";RELEASE SAVEPOINT ",
    savepoint!()
);

/// Goes back, and runs more statements that may fail.
pub(crate) fn back_to_savepoint_and(statements: &str) -> String {
    format!(
        concat!(
            "ROLLBACK TO SAVEPOINT ",
            savepoint!(),
            ";{};RELEASE SAVEPOINT ",
            savepoint!()
        ),
        statements
    )
}

/// Asks for the lock without waiting. One row: granted or not, and the circumstances; none on a standby. If it was not granted, some
/// of several keys may be held.
pub(crate) fn try_lock(lock: &AdvisoryLock) -> String {
    let acquired = Function::TryXactLock.all(lock);
    format!("SELECT {acquired},{CIRCUMSTANCES}{ON_PRIMARY}")
}

/// As [`try_lock`], but all keys, or none.
pub(crate) fn try_lock_all_or_none(lock: &AdvisoryLock) -> String {
    let select = try_all_or_none(lock, "");
    format!("{select},{CIRCUMSTANCES}{ON_PRIMARY}")
}
