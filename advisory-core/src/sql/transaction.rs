//! The messages that open a transaction.

use std::fmt::Write as _;

use super::call::{Calls, Function, KeySettings};
use super::holder::unlock_held;
use super::permits::{Reach, SLOT, Semaphore};
use super::sqlstate::FREE_SLOT;
use super::timeout::{Timeout, with_timeout};
use super::{ClientCheck, REFUSE_STANDBY, REFUSE_STANDBY_AND_OLD_SNAPSHOT};
use crate::key::Key;
use crate::lock::{Isolation, LockId, Mode, Wait};

/// Ends a transaction that was left open on a pooled connection.
///
/// A `begin` of sqlx's that was dropped half-way leaves one, and our commit would commit its work.
/// `BEGIN` joins that transaction, with a warning, or opens one; `ROLLBACK` ends either. If it is
/// aborted already, the server refuses the whole message.
pub(super) const RESET: &str = "BEGIN;ROLLBACK";

/// Ends a transaction, also an aborted one, in which the server runs nothing else.
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// Opens a transaction and does nothing in it.
pub(crate) const BEGIN: &str = "BEGIN";

/// Sets the level of a transaction that has done nothing yet.
pub(super) const READ_COMMITTED: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// An empty query: the server answers with the state of the session, by which sqlx learns that a
/// transaction is open.
pub(crate) const EMPTY_QUERY: &str = "";

/// The result of a try that an earlier statement of the same message has stored.
pub(super) const GRANTED: &str = "pg_catalog.current_setting('advisory.acquired')::pg_catalog.bool";

/// Opens a transaction that notices when its client has gone.
pub(crate) fn begin() -> String {
    let check = ClientCheck::Unknown;
    // The opening ends with a target list.
    let (opening, keep_alive) = (opening(None, check), check.keep_alive());
    format!("{opening}{keep_alive};BEGIN")
}

/// Opens a transaction that holds the lock.
///
/// `BEGIN` comes last. Until then the message is one implicit transaction, which the server rolls
/// back if the lock is not granted, and which `BEGIN` makes explicit if it is. So the session is
/// either in a transaction that holds the lock, or idle. Without a level, the message fails where
/// the default level is not `READ COMMITTED`; see [`begin_isolated`].
pub(crate) fn begin_and_lock(
    lock: &LockId,
    wait: Wait,
    isolation: Option<Isolation>,
    check: ClientCheck,
) -> String {
    let opening = opening(isolation, check);
    let columns = format!("{}{}", refusals(isolation), check.keep_alive());
    let wait = lock_with_wait(lock, wait, &columns, "");
    format!("{opening};{wait};BEGIN")
}

/// As [`begin_and_lock`] for a lock with several permits, but fails with
/// [`is_no_free_slot`](super::sqlstate::is_no_free_slot) instead of waiting.
pub(crate) fn begin_if_free(
    lock: &LockId,
    isolation: Option<Isolation>,
    check: ClientCheck,
) -> String {
    let opening = opening(isolation, check);
    let columns = format!("{}{}", refusals(isolation), check.keep_alive());
    let granted = Function::TryXactLock.all(lock);
    format!(
        "{opening};SELECT {columns},CASE WHEN {granted} THEN '' \
         ELSE pg_catalog.current_setting('{FREE_SLOT}') END;BEGIN"
    )
}

/// Opens a transaction and tries the lock in it without waiting: all keys, or none. The last column
/// of the last row is the result; the transaction is open in either case. Without a level, it fails
/// as [`begin_and_lock`] does.
pub(crate) fn begin_and_try(
    lock: &LockId,
    isolation: Option<Isolation>,
    check: ClientCheck,
) -> String {
    let opening = opening(isolation, check);
    let columns = format!("{}{},", refusals(isolation), check.keep_alive());
    let select = try_all_or_none(lock, &columns);
    format!("{opening};{select};BEGIN")
}

/// Opens a transaction that holds the lock and whose snapshot is taken after the grant, at this
/// level or at the default one. The last row is the level and the result; the transaction is open
/// in either case.
///
/// A transaction of a level other than `READ COMMITTED` takes its snapshot with its first
/// statement: if that statement waits, the snapshot is older than the wait. So the session takes
/// the lock first, and the transaction takes it over.
pub(crate) fn begin_isolated(
    lock: &LockId,
    wait: Wait,
    isolation: Option<Isolation>,
    check: ClientCheck,
) -> String {
    let level = match isolation {
        None => "",
        Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
        Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
        Some(Isolation::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
    };
    let (session, take_over) = (lock_session(lock, wait, check), take_over(lock, check));
    format!(
        "{session};BEGIN;COMMIT;BEGIN{level};{take_over};\
         SELECT pg_catalog.current_setting('transaction_isolation'){},{GRANTED}",
        check.keep_alive()
    )
}

/// Ends whatever [`begin_isolated`] leaves if it fails or is dropped: a transaction, and locks of
/// the session, of which these keys may be held.
pub(crate) fn roll_back_and_unlock(mode: Mode, keys: &[Key]) -> String {
    format!("{ROLLBACK};{}", unlock_held(mode, keys))
}

/// Takes the lock for the session, if it is granted in time to an implicit transaction, and stores
/// the result for [`take_over`].
fn lock_session(lock: &LockId, wait: Wait, check: ClientCheck) -> String {
    let mut message = opening(Some(Isolation::ReadCommitted), check);
    let columns = format!("{REFUSE_STANDBY}{}", check.keep_alive());
    if let Some(semaphore) = Semaphore::of(lock) {
        let slot = match wait {
            Wait::No => format!(
                "SELECT {REFUSE_STANDBY},{}",
                semaphore.keep_any(Function::TryXactLock)
            ),
            wait => semaphore.wait(wait, &columns, Reach::Session),
        };
        let _ = write!(
            message,
            ";{slot};SELECT pg_catalog.set_config('advisory.acquired',({SLOT} OPERATOR(pg_catalog.<>) '')::pg_catalog.text,false)"
        );
        call_if_granted(&mut message, Function::Lock, lock);
        return message;
    }
    let tried = if wait == Wait::No {
        Function::TryXactLock.all(lock)
    } else {
        let _ = write!(message, ";{}", lock_with_wait(lock, wait, &columns, ""));
        "true".to_owned()
    };
    let _ = write!(
        message,
        ";SELECT {REFUSE_STANDBY},pg_catalog.set_config('advisory.acquired',({tried})::pg_catalog.text,false)"
    );
    call_if_granted(&mut message, Function::Lock, lock);
    message
}

/// Moves the lock from the session to its transaction.
fn take_over(lock: &LockId, check: ClientCheck) -> String {
    let mut message = check.enable();
    call_if_granted(&mut message, Function::XactLock, lock);
    call_if_granted(&mut message, Function::Unlock, lock);
    message
}

/// What makes a message fail before it waits; an item of a target list.
fn refusals(isolation: Option<Isolation>) -> &'static str {
    match isolation {
        None => REFUSE_STANDBY_AND_OLD_SNAPSHOT,
        Some(_) => REFUSE_STANDBY,
    }
}

/// The beginning of a transaction: the session is idle, and notices when its client has gone.
///
/// At `READ COMMITTED`, each statement sees what was committed before it, so the level can be set
/// before the wait. Other levels need [`begin_isolated`].
fn opening(isolation: Option<Isolation>, check: ClientCheck) -> String {
    let enable = check.enable();
    match isolation {
        Some(Isolation::ReadCommitted) => format!("{RESET};{READ_COMMITTED};{enable}"),
        _ => format!("{RESET};{enable}"),
    }
}

/// Calls a function for every key, if all of them were granted; statements that begin with a
/// semicolon.
pub(super) fn call_if_granted(message: &mut String, function: Function, lock: &LockId) {
    if let Some(semaphore) = Semaphore::of(lock) {
        let call = semaphore.call_on_slot(function);
        let _ = write!(message, ";SELECT {call} WHERE {GRANTED}");
        return;
    }
    for Calls { call, rows } in function.calls(lock) {
        let _ = write!(message, ";SELECT {call} FROM {rows} WHERE {GRANTED}");
    }
}

/// Takes all keys of a lock, or none, without waiting. `columns` come before the result and end
/// with a comma; the message ends with a `SELECT`, to which more can be appended.
pub(super) fn try_all_or_none(lock: &LockId, columns: &str) -> String {
    let (statements, granted) = try_parts(lock);
    format!("{statements}SELECT {columns}{granted}")
}

/// The statements before the last one of [`try_all_or_none`], which end with a semicolon, and its
/// result; an expression, which may take the lock.
///
/// For several keys, the exception handler of a block is a savepoint that costs no round trip and
/// leaves no error in the server's log. The block reads the keys from settings:
/// `pg_stat_statements` does not replace the literals of a block, and would have an entry for each
/// set of keys.
pub(super) fn try_parts(lock: &LockId) -> (String, String) {
    if lock.keys().len() <= 1 {
        return (String::new(), Function::TryXactLock.all(lock));
    }
    let keys = KeySettings::of(lock);
    let set = keys.set();
    let granted = keys.try_all(lock.mode());
    let statements = format!(
        "{set};DO LANGUAGE plpgsql $advisory$BEGIN \
         IF pg_catalog.pg_is_in_recovery() OR NOT ({granted}) THEN RAISE SQLSTATE 'AL000';END IF;\
         PERFORM pg_catalog.set_config('advisory.acquired','true',true);\
         EXCEPTION WHEN SQLSTATE 'AL000' THEN \
         PERFORM pg_catalog.set_config('advisory.acquired','false',true);\
         END$advisory$;"
    );
    (statements, GRANTED.to_owned())
}

/// Waits inside a transaction. `refusals` are evaluated before the wait begins; the last row ends
/// with `extra_columns`, which begin with a comma.
pub(super) fn lock_with_wait(
    lock: &LockId,
    wait: Wait,
    refusals: &str,
    extra_columns: &str,
) -> String {
    if let Some(semaphore) = Semaphore::of(lock) {
        let wait = semaphore.wait(wait, refusals, Reach::Transaction);
        return format!("{wait};SELECT true{extra_columns}");
    }
    // Target lists are evaluated from left to right.
    if let Some(call) = Function::XactLock.single_call(lock) {
        let wait = with_timeout(&call, wait);
        return format!("SELECT {refusals},{wait}{extra_columns}");
    }
    let Timeout { save, set, restore } = Timeout::of(wait);
    let mut message = format!("SELECT {refusals}{save};");
    for Calls { call, rows } in Function::XactLock.calls(lock) {
        // Many keys return no row: either all of them are granted, or there is an error.
        let wait = match &set {
            Some(set) => format!("CASE WHEN {set} IS NOT NULL THEN {call} IS NULL END"),
            None => format!("{call} IS NULL"),
        };
        let _ = write!(message, "SELECT FROM {rows} WHERE {wait};");
    }
    let _ = write!(message, "SELECT true{restore}{extra_columns}");
    message
}
