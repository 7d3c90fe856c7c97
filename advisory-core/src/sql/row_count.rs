//! Messages whose answer is a number of rows, for connections that run text and hand out no rows.
//!
//! sea-orm's transactions run several statements, and statements that are not prepared, only this
//! way. The last statement of such a message returns so many empty rows that their number says what
//! became of the lock; the other statements return few.

use super::transaction::{GRANTED, ROLLBACK, begin_isolated, try_parts};
use super::{ClientCheck, SERVER_IN_ALL_SESSIONS, caller_transaction};
use crate::lock::{Isolation, LockId, Wait};
use crate::sql::call::text_literal;

/// The rows of a report are a multiple of this number, and the other rows of a message fewer.
const UNIT: u64 = 16;

/// What became of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted(GrantContext),
    Refused,
    Standby,
}

/// What is checked after a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantContext {
    /// Whether the transaction's isolation level is `READ COMMITTED`.
    pub(crate) is_read_committed: bool,
    /// Whether the server is one of those that were given to the message.
    pub(crate) is_known: bool,
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
        let granted = |is_read_committed, is_known| {
            Some(Answer::Granted(GrantContext {
                is_read_committed,
                is_known,
            }))
        };
        match rows / UNIT {
            1 => return Some(Answer::Refused),
            2 => return Some(Answer::Standby),
            _ => {}
        }
        match rows.checked_sub(self.rows_of_keys)? / UNIT {
            3 => granted(true, true),
            4 => granted(true, false),
            5 => granted(false, true),
            6 => granted(false, false),
            _ => None,
        }
    }
}

/// Tries the lock in the caller's transaction without waiting: all keys, or none.
pub(crate) fn try_lock(lock: &LockId, servers: &[String]) -> Message {
    let (prelude, granted) = try_parts(lock);
    Message {
        text: format!("{prelude}{}", report(&granted, servers)),
        rows_of_keys: 0,
    }
}

/// Waits for the lock in the caller's transaction; see
/// [`lock_after_savepoint`](caller_transaction::lock_after_savepoint).
pub(crate) fn lock_after_savepoint(lock: &LockId, wait: Wait, servers: &[String]) -> Message {
    let message = caller_transaction::lock_after_savepoint(lock, wait);
    Message {
        text: format!("{message};{}", report("true", servers)),
        rows_of_keys: 0,
    }
}

/// Ends the transaction that was opened before, and opens one that holds the lock and whose
/// snapshot is taken after the grant; see [`begin_isolated`].
pub(crate) fn begin_anew(
    lock: &LockId,
    wait: Wait,
    isolation: Option<Isolation>,
    servers: &[String],
) -> Message {
    let message = begin_isolated(lock, wait, isolation, ClientCheck::Unknown);
    Message {
        text: format!("{ROLLBACK};{message};{}", report(GRANTED, servers)),
        // Each key is locked by the session, locked by the transaction, and unlocked.
        rows_of_keys: 3 * u64::try_from(lock.keys().len()).unwrap_or(u64::MAX),
    }
}

/// A statement that returns as many rows as [`Message::read`] expects. `granted` is evaluated once,
/// and not on a standby.
fn report(granted: &str, servers: &[String]) -> String {
    let is_known = if servers.is_empty() {
        "false".to_owned()
    } else {
        let servers: Vec<_> = servers.iter().map(|server| text_literal(server)).collect();
        let servers = servers.join(",");
        format!("{SERVER_IN_ALL_SESSIONS} OPERATOR(pg_catalog.=) ANY(ARRAY[{servers}])")
    };
    let [refused, standby, known, unknown, known_old, unknown_old] =
        [1, 2, 3, 4, 5, 6].map(|code| code * UNIT);
    format!(
        "SELECT FROM pg_catalog.generate_series(1,CASE WHEN pg_catalog.pg_is_in_recovery() THEN {standby} \
         WHEN NOT ({granted}) THEN {refused} \
         WHEN pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' \
         THEN CASE WHEN {is_known} THEN {known} ELSE {unknown} END \
         ELSE CASE WHEN {is_known} THEN {known_old} ELSE {unknown_old} END END)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::AdvisoryLock;

    #[test]
    fn numbers_that_no_report_has_are_not_an_answer() {
        let lock = AdvisoryLock::new("a");
        let message = try_lock(lock.id(), &[]);
        for rows in [0, 1, 15, 7 * UNIT, u64::MAX] {
            assert_eq!(message.read(rows), None, "{rows}");
        }
        assert_eq!(message.read(UNIT + 1), Some(Answer::Refused));
    }

    #[test]
    fn rows_of_many_keys_are_told_from_the_report() {
        let lock = AdvisoryLock::all(0..1000);
        let message = begin_anew(lock.id(), Wait::Forever, None, &[]);
        let granted = message.read(3000 + 4 * UNIT + 6);
        let context = GrantContext {
            is_read_committed: true,
            is_known: false,
        };
        assert_eq!(granted, Some(Answer::Granted(context)));
        assert_eq!(message.read(UNIT + 6), Some(Answer::Refused));
    }
}
