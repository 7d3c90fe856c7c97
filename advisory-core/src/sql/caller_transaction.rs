//! The messages for a lock in the caller's transaction.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::call::Function;
use super::tcp_keepalive::set_if_granted;
use super::transaction::{lock_with_wait, try_all_or_none};
use super::{ClientCheck, ON_PRIMARY, REFUSE_STANDBY, SERVER, server};
use crate::lock::{LockId, Wait};

/// A name that nobody else gives to a savepoint.
const SAVEPOINT: &str = "_advisory_core";

/// What is checked after a grant: the transaction's isolation level, in words, and the server.
pub(crate) struct GrantContext {
    pub(crate) isolation: String,
    pub(crate) server: String,
}

impl GrantContext {
    const ISOLATION: &'static str = "pg_catalog.current_setting('transaction_isolation')";

    fn columns() -> String {
        format!("{},{SERVER}", Self::ISOLATION)
    }

    /// Asks for it alone. One row.
    pub(crate) fn query() -> String {
        format!("SELECT {}", Self::columns())
    }

    /// From the end of a row.
    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let first = row.len().saturating_sub(3);
        Ok(Self {
            isolation: row.try_get(first)?,
            server: server(row, first + 1)?,
        })
    }
}

/// Tries the lock without waiting. The one row is the result and the [`GrantContext`]; there is no
/// row on a standby. If it was not granted, some of several keys may be held.
pub(crate) fn try_lock(lock: &LockId) -> String {
    let granted = set_if_granted(&Function::TryXactLock.all(lock));
    format!("SELECT {granted},{}{ON_PRIMARY}", GrantContext::columns())
}

/// As [`try_lock`], but takes all keys, or none.
pub(crate) fn try_lock_all_or_none(lock: &LockId) -> String {
    let (select, keepalive) = (try_all_or_none(lock, ""), set_if_granted("true"));
    format!(
        "{select},{keepalive},{}{ON_PRIMARY}",
        GrantContext::columns()
    )
}

/// Waits for the lock after a savepoint, so that a failure can be undone; see
/// [`roll_back_to_savepoint`]. The last row ends with the [`GrantContext`].
pub(crate) fn lock_after_savepoint(lock: &LockId, wait: Wait) -> String {
    let columns = format!(",{}", GrantContext::columns());
    let check = ClientCheck::Unknown;
    let before = format!("{REFUSE_STANDBY}{}", check.keep_alive());
    let wait = lock_with_wait(lock, wait, &before, &columns);
    after_savepoint(&format!("{};{wait}", check.enable()))
}

/// Runs statements that may fail after a savepoint, so that a failure can be undone.
pub(crate) fn after_savepoint(statements: &str) -> String {
    format!("SAVEPOINT {SAVEPOINT};{statements};RELEASE SAVEPOINT {SAVEPOINT}")
}

/// Makes the transaction usable after a message with a savepoint has failed. It restores the
/// settings as well.
pub(crate) fn roll_back_to_savepoint() -> String {
    roll_back_to_savepoint_and("")
}

/// Makes the transaction usable, and runs more statements that may fail.
pub(crate) fn roll_back_to_savepoint_and(statements: &str) -> String {
    format!("ROLLBACK TO SAVEPOINT {SAVEPOINT};{statements};RELEASE SAVEPOINT {SAVEPOINT}")
}

/// Sets the savepoint alone. It fails outside a transaction.
#[cfg(feature = "sea-orm")]
pub(crate) fn set_savepoint() -> String {
    format!("SAVEPOINT {SAVEPOINT}")
}

/// Makes the transaction usable, and keeps the savepoint.
#[cfg(feature = "sea-orm")]
pub(crate) fn return_to_savepoint() -> String {
    format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}")
}

#[cfg(feature = "sea-orm")]
pub(crate) fn release_savepoint() -> String {
    format!("RELEASE SAVEPOINT {SAVEPOINT}")
}
