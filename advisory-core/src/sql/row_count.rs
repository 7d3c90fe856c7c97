//! Messages whose answer is a number of rows, for connections that run text and hand out no rows.
//!
//! sea-orm's transactions run several statements, and statements that are not prepared, only this
//! way. The last statement of such a message returns so many empty rows that their number says what
//! became of the lock; the other statements return few.

use super::backend::is_held;
use super::transaction::{GRANTED, ROLLBACK, begin_isolated, try_parts};
use super::{ClientCheck, caller_transaction};
use crate::lock::{Isolation, LockId, Wait};

/// The rows of a report are a multiple of this number, and the other rows of a message fewer.
const UNIT: u64 = 16;

/// What became of a lock. The number of rows is this many [`UNIT`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused = 1,
    Standby = 2,
    Granted = 3,
    /// Granted at another level than `READ COMMITTED`.
    GrantedWithOldSnapshot = 4,
    /// Granted, and not in the server's lock table.
    NotHeld = 5,
}

impl Answer {
    fn rows(self) -> u64 {
        self as u64 * UNIT
    }
}

/// A message, and how to read its answer.
pub(crate) struct Message {
    pub(crate) text: String,
    /// The rows that the other statements return if the lock was granted, besides a few.
    rows_of_keys: u64,
}

impl Message {
    /// What the number of rows says. `None` if no server has counted them: one that is not
    /// PostgreSQL, or a mock.
    pub(crate) fn read(&self, rows: u64) -> Option<Answer> {
        match rows / UNIT {
            1 => return Some(Answer::Refused),
            2 => return Some(Answer::Standby),
            _ => {}
        }
        let grants = [
            Answer::Granted,
            Answer::GrantedWithOldSnapshot,
            Answer::NotHeld,
        ];
        let report = rows.checked_sub(self.rows_of_keys)? / UNIT * UNIT;
        grants.into_iter().find(|answer| answer.rows() == report)
    }
}

/// Tries the lock in the caller's transaction without waiting: all keys, or none. A savepoint fails
/// outside a transaction, where the lock would be free again at once.
pub(crate) fn try_lock(lock: &LockId) -> Message {
    let (statements, granted) = try_parts(lock);
    Message {
        text: format!(
            "{};{};{statements}{}",
            caller_transaction::set_savepoint(),
            caller_transaction::release_savepoint(),
            report(lock, &granted)
        ),
        rows_of_keys: 0,
    }
}

/// Waits for the lock in the caller's transaction; see
/// [`lock_after_savepoint`](caller_transaction::lock_after_savepoint).
pub(crate) fn lock_after_savepoint(lock: &LockId, wait: Wait) -> Message {
    let message = caller_transaction::lock_after_savepoint(lock, wait);
    Message {
        text: format!("{message};{}", report(lock, "true")),
        rows_of_keys: 0,
    }
}

/// Ends the transaction that was opened before, and opens one that holds the lock and whose
/// snapshot is taken after the grant; see [`begin_isolated`].
pub(crate) fn begin_again(lock: &LockId, wait: Wait, isolation: Option<Isolation>) -> Message {
    let message = begin_isolated(lock, wait, isolation, ClientCheck::Unknown);
    Message {
        text: format!("{ROLLBACK};{message};{}", report(lock, GRANTED)),
        // Each key is locked by the session, locked by the transaction, and unlocked.
        rows_of_keys: 3 * u64::try_from(lock.keys().len()).unwrap_or(u64::MAX / 3),
    }
}

/// A statement that returns as many rows as [`Message::read`] expects. `granted` is evaluated once,
/// and not on a standby.
///
/// Whether the server holds locks is looked up once for a session, which remembers it in a setting
/// of our own: the lock table of a server can be long.
fn report(lock: &LockId, granted: &str) -> String {
    let is_not_held = if lock.keys().is_empty() {
        "false".to_owned()
    } else {
        format!(
            "COALESCE(pg_catalog.current_setting('advisory.has_locks',true),'') OPERATOR(pg_catalog.<>) 'true' \
             AND CASE WHEN {} THEN pg_catalog.set_config('advisory.has_locks','true',false) END IS NULL",
            is_held(lock)
        )
    };
    format!(
        "SELECT FROM pg_catalog.generate_series(1,CASE WHEN pg_catalog.pg_is_in_recovery() THEN {standby} \
         WHEN NOT ({granted}) THEN {refused} WHEN {is_not_held} THEN {not_held} \
         WHEN pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' \
         THEN {granted_rows} ELSE {old_snapshot} END)",
        standby = Answer::Standby.rows(),
        refused = Answer::Refused.rows(),
        not_held = Answer::NotHeld.rows(),
        granted_rows = Answer::Granted.rows(),
        old_snapshot = Answer::GrantedWithOldSnapshot.rows(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::AdvisoryLock;

    #[test]
    fn numbers_that_no_report_has_are_not_an_answer() {
        let lock = AdvisoryLock::new("a");
        let message = try_lock(lock.id());
        for rows in [0, 1, UNIT - 1, 6 * UNIT, u64::MAX] {
            assert_eq!(message.read(rows), None, "{rows}");
        }
        assert_eq!(message.read(UNIT + 1), Some(Answer::Refused));
    }

    #[test]
    fn rows_of_many_keys_are_told_from_the_report() {
        let lock = AdvisoryLock::all(0..1000);
        let message = begin_again(lock.id(), Wait::Forever, None);
        let granted = message.read(3000 + Answer::GrantedWithOldSnapshot.rows() + 6);
        assert_eq!(granted, Some(Answer::GrantedWithOldSnapshot));
        assert_eq!(message.read(UNIT + 6), Some(Answer::Refused));
    }
}
