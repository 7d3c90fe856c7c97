//! The messages of the transaction verbs: simple-protocol text with literals of our own making.
//!
//! One such message reaches one backend whole, also through a transaction-mode pooler, where the statements of the extended
//! protocol can be torn apart; and its statements cost one round trip together. Every name is qualified, operators included,
//! so that no `search_path` can put another in its place.

use std::fmt::Write as _;

use super::literal::{Calls, Function};
use super::timeout::Timeout;
use crate::wait::Wait;
use crate::{AdvisoryLock, Isolation};

/// Makes a backend look, while it waits, whether its client is still there: without it, a waiter outlives its client until the
/// lock is granted. Counts from the next statement on, until the transaction ends. The setting exists everywhere from
/// PostgreSQL 14 on, but is refused where the platform cannot tell: there it stays off.
const NOTICE_CLOSED_CLIENT: &str = concat!(
    "SELECT pg_catalog.set_config('client_connection_check_interval',",
    check_interval!(),
    ",true)"
);

/// What is to be known of a grant in the caller's transaction: its isolation level, in words, and the server.
const CIRCUMSTANCES: &str = concat!(
    "pg_catalog.current_setting('transaction_isolation'),",
    server!()
);

/// On a primary; no row elsewhere.
pub(super) const ON_PRIMARY: &str = " WHERE NOT pg_catalog.pg_is_in_recovery()";

/// Whatever a session was in, it is idle after this.
///
/// A session of a pool can be inside a transaction: somebody has given up a `begin` of sqlx's half-way, and the pool has handed the
/// connection on. What was abandoned would be committed with ours. `BEGIN` joins it, with a warning, or opens one; `ROLLBACK`
/// ends either.
macro_rules! afresh {
    () => {
        "BEGIN;ROLLBACK"
    };
}

/// What a message begins with that is to find its session idle, and on a primary.
pub(super) const PRELUDE: &str = concat!(afresh!(), ";SELECT ", refuse_standby!());

/// The same, at the isolation level of a transaction that [`BEGIN`](begin_and_lock) makes of the message.
///
/// At `READ COMMITTED`, if it was asked for, whatever the server's default, each statement sees what was committed before it, the
/// wait included.
fn prelude(lock: &AdvisoryLock) -> &'static str {
    match lock.isolation_level() {
        // Before any query.
        Some(Isolation::ReadCommitted) => concat!(
            afresh!(),
            ";SET TRANSACTION ISOLATION LEVEL READ COMMITTED;SELECT ",
            refuse_standby!()
        ),
        _ => PRELUDE,
    }
}

/// Opens a transaction that notices when its client is gone.
pub(crate) fn begin(lock: &AdvisoryLock) -> String {
    format!("{};{NOTICE_CLOSED_CLIENT};BEGIN", prelude(lock))
}

/// Opens a transaction that holds the lock.
///
/// `BEGIN` comes last: until then the message is one implicit transaction, which the server itself rolls back if the lock is
/// not to be had, and which `BEGIN` makes explicit if it is. So the session is either in a transaction with the lock, or idle.
pub(crate) fn begin_and_lock(lock: &AdvisoryLock, wait: Wait) -> String {
    format!("{};{};BEGIN", prelude(lock), wait_for(lock, wait))
}

/// Opens a transaction that holds the lock and whose snapshot is younger than the grant. One row with one boolean is the
/// answer; the transaction is open whatever it says.
///
/// A transaction of these levels takes its snapshot with its first statement: waiting in it would read what was before the
/// wait. So an implicit transaction waits, hands the lock to the session, and ends; the transaction proper begins with the lock
/// at hand, and takes it from the session.
pub(crate) fn begin_isolated(lock: &AdvisoryLock, wait: Wait, isolation: Isolation) -> String {
    let (mut message, tried) = match wait {
        Wait::No => (
            format!("{PRELUDE};{NOTICE_CLOSED_CLIENT}"),
            Function::TryXactLock.all(lock),
        ),
        _ => (
            format!("{PRELUDE};{}", wait_for(lock, wait)),
            "true".to_owned(),
        ),
    };
    let _ = write!(
        message,
        ";SELECT pg_catalog.set_config('advisory.acquired',({tried})::pg_catalog.text,false)"
    );
    if_acquired(&mut message, Function::Lock, lock);
    let level = level(isolation);
    let _ = write!(
        message,
        ";BEGIN;COMMIT;BEGIN ISOLATION LEVEL {level};{NOTICE_CLOSED_CLIENT}"
    );
    if_acquired(&mut message, Function::XactLock, lock);
    if_acquired(&mut message, Function::Unlock, lock);
    let _ = write!(message, ";SELECT {ACQUIRED}");
    message
}

/// What an earlier statement of the message has found out.
pub(super) const ACQUIRED: &str =
    "pg_catalog.current_setting('advisory.acquired')::pg_catalog.bool";

/// Calls a function for every key, if they have all been acquired.
pub(super) fn if_acquired(message: &mut String, function: Function, lock: &AdvisoryLock) {
    for Calls { call, rows } in function.calls(lock) {
        let _ = write!(message, ";SELECT {call} FROM {rows} WHERE {ACQUIRED}");
    }
}

fn level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::RepeatableRead => "REPEATABLE READ",
        Isolation::Serializable => "SERIALIZABLE",
    }
}

/// Nothing: it is answered with the state of the session, which is all that is wanted.
pub(crate) const ADOPT: &str = "";

/// A name that nobody else gives to a savepoint.
macro_rules! savepoint {
    () => {
        "_advisory_core"
    };
}

/// Waits for the lock inside a transaction, and leaves the way back open: see [`BACK_TO_SAVEPOINT`].
pub(crate) fn lock_after_savepoint(lock: &AdvisoryLock, wait: Wait) -> String {
    let wait = wait_for(lock, wait);
    after_savepoint(&format!(concat!("SELECT ", refuse_standby!(), ";{}"), wait))
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

/// Asks for several keys without waiting: all, or none. One row: granted or not, and the circumstances; none on a standby.
///
/// The block's exception handler is a savepoint that costs no round trip and leaves no error in the server's log.
pub(crate) fn try_lock_all_or_none(lock: &AdvisoryLock) -> String {
    let acquired = Function::TryXactLock.all(lock);
    format!(
        "DO LANGUAGE plpgsql $advisory$BEGIN \
         IF pg_catalog.pg_is_in_recovery() OR NOT ({acquired}) THEN RAISE SQLSTATE 'AL000';END IF;\
         PERFORM pg_catalog.set_config('advisory.acquired','true',true);\
         EXCEPTION WHEN SQLSTATE 'AL000' THEN \
         PERFORM pg_catalog.set_config('advisory.acquired','false',true);\
         END$advisory$;\
         SELECT {ACQUIRED},{CIRCUMSTANCES}{ON_PRIMARY}"
    )
}

/// The wait, by a backend that notices when its client is gone. Its last row ends with the circumstances.
fn wait_for(lock: &AdvisoryLock, wait: Wait) -> String {
    format!("{NOTICE_CLOSED_CLIENT};{}", wait_alone(lock, wait))
}

pub(super) fn wait_alone(lock: &AdvisoryLock, wait: Wait) -> String {
    let Timeout { set, left, restore } = Timeout::of(wait);
    if let Some(call) = Function::XactLock.call(lock) {
        return format!("SELECT {set}{call}{restore},{CIRCUMSTANCES}");
    }
    let mut message = format!("SELECT {set}true");
    for Calls { call, rows } in Function::XactLock.calls(lock) {
        let _ = write!(message, ";SELECT {left}{call} FROM {rows}");
    }
    let _ = write!(message, ";SELECT true{restore},{CIRCUMSTANCES}");
    message
}
