//! The messages of the verbs that open a transaction: simple-protocol text with literals of our own making.
//!
//! One such message reaches one backend whole, also through a transaction-mode pooler, where the statements of the extended
//! protocol can be torn apart; and its statements cost one round trip together. Every name is qualified, operators included,
//! so that no `search_path` can put another in its place.

use std::fmt::Write as _;

use super::literal::{Calls, Function};
use super::timeout::{Timeout, limited};
use crate::wait::Wait;
use crate::{AdvisoryLock, Isolation};

/// Makes a backend look, while it waits, whether its client is still there: without it, a waiter outlives its client until the
/// lock is granted. Counts from the next statement on, until the transaction ends. The setting exists everywhere from
/// PostgreSQL 14 on, but is refused where the platform cannot tell: there it stays off.
pub(super) const NOTICE_CLOSED_CLIENT: &str = concat!(
    "SELECT pg_catalog.set_config('client_connection_check_interval',",
    check_interval!(),
    ",true)"
);

/// The same, on a server that is known to take it. A third of the time of the statement above goes into finding that out.
const NOTICE_CLOSED_CLIENT_AS_BEFORE: &str = "SET LOCAL client_connection_check_interval=500";

/// What is known of a server's platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    Unknown,
    /// It can tell that a client is gone.
    NoticesClosedClient,
}

impl Platform {
    /// How often a backend looks whether its client is there; an expression.
    pub(super) fn check_interval(self) -> &'static str {
        match self {
            Self::Unknown => check_interval!(),
            Self::NoticesClosedClient => "'500'",
        }
    }

    fn notice_closed_client(self) -> &'static str {
        match self {
            Self::Unknown => NOTICE_CLOSED_CLIENT,
            Self::NoticesClosedClient => NOTICE_CLOSED_CLIENT_AS_BEFORE,
        }
    }
}

/// What a message begins with that is to find its session idle.
///
/// A session of a pool can be inside a transaction: somebody has given up a `begin` of sqlx's half-way, and the pool has handed the
/// connection on. What was abandoned would be committed with ours. `BEGIN` joins it, with a warning, or opens one; `ROLLBACK`
/// ends either. One that is aborted already refuses the whole message.
pub(super) const AFRESH: &str = "BEGIN;ROLLBACK";

/// What opens a transaction: its session is idle, and notices when its client is gone.
///
/// At `READ COMMITTED`, if it was asked for, whatever the server's default, each statement sees what was committed before it, the
/// wait included.
fn opening(lock: &AdvisoryLock, platform: Platform) -> String {
    let level = match lock.isolation_level() {
        // Before any query.
        Some(Isolation::ReadCommitted) => ";SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        _ => "",
    };
    let notice = platform.notice_closed_client();
    format!("{AFRESH}{level};{notice}")
}

/// Opens a transaction that notices when its client is gone. Whether it is on a primary shows when it asks for the lock.
pub(crate) fn begin(lock: &AdvisoryLock, platform: Platform) -> String {
    format!("{};BEGIN", opening(lock, platform))
}

/// Opens a transaction that holds the lock.
///
/// `BEGIN` comes last: until then the message is one implicit transaction, which the server itself rolls back if the lock is
/// not to be had, and which `BEGIN` makes explicit if it is. So the session is either in a transaction with the lock, or idle.
pub(crate) fn begin_and_lock(lock: &AdvisoryLock, wait: Wait, platform: Platform) -> String {
    let (opening, wait) = (opening(lock, platform), waiting(lock, wait, ""));
    format!("{opening};{wait};BEGIN")
}

/// Opens a transaction, and asks for the lock in it without waiting: all keys, or none. The last column of the last row is the answer;
/// the transaction is open whatever it says.
pub(crate) fn begin_and_try(lock: &AdvisoryLock, platform: Platform) -> String {
    let opening = opening(lock, platform);
    let select = try_all_or_none(lock, concat!(refuse_standby!(), ","));
    format!("{opening};{select};BEGIN")
}

/// Opens a transaction that holds the lock and whose snapshot is younger than the grant. The last row is the answer; the transaction is open whatever it says.
///
/// A transaction of these levels takes its snapshot with its first statement: waiting in it would read what was before the
/// wait. So an implicit transaction waits, hands the lock to the session, and ends; the transaction proper begins with the lock
/// at hand, and takes it from the session.
pub(crate) fn begin_isolated(lock: &AdvisoryLock, wait: Wait, isolation: Isolation) -> String {
    let mut message = format!("{AFRESH};{NOTICE_CLOSED_CLIENT}");
    let tried = if wait == Wait::No {
        Function::TryXactLock.all(lock)
    } else {
        let _ = write!(message, ";{}", waiting(lock, wait, ""));
        "true".to_owned()
    };
    let _ = write!(
        message,
        concat!(
            ";SELECT ",
            refuse_standby!(),
            ",pg_catalog.set_config('advisory.acquired',({})::pg_catalog.text,false)"
        ),
        tried
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

/// Opens a transaction.
pub(crate) const BEGIN: &str = "BEGIN";

/// Ends a transaction, also one that was aborted, in which nothing else is answered.
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// Nothing: it is answered with the state of the session, which is all that is wanted.
pub(crate) const ADOPT: &str = "";

/// Takes all keys of a lock, or none, without waiting. What is `told` before the answer ends with a comma; the last statement is a
/// `SELECT`, which more can be added to.
///
/// For several keys, a block's exception handler is a savepoint that costs no round trip and leaves no error in the server's log.
pub(super) fn try_all_or_none(lock: &AdvisoryLock, told: &str) -> String {
    let acquired = Function::TryXactLock.all(lock);
    if lock.keys().len() <= 1 {
        return format!("SELECT {told}{acquired}");
    }
    format!(
        "DO LANGUAGE plpgsql $advisory$BEGIN \
         IF pg_catalog.pg_is_in_recovery() OR NOT ({acquired}) THEN RAISE SQLSTATE 'AL000';END IF;\
         PERFORM pg_catalog.set_config('advisory.acquired','true',true);\
         EXCEPTION WHEN SQLSTATE 'AL000' THEN \
         PERFORM pg_catalog.set_config('advisory.acquired','false',true);\
         END$advisory$;SELECT {told}{ACQUIRED}"
    )
}

/// The wait, inside a transaction, which fails on a standby before it begins. Its last row ends with what is `told` of it, which begins
/// with a comma.
pub(super) fn waiting(lock: &AdvisoryLock, wait: Wait, told: &str) -> String {
    let standby = refuse_standby!();
    // Targets are evaluated from the left to the right.
    if let Some(call) = Function::XactLock.call(lock) {
        return format!("SELECT {standby},{}{told}", limited(&call, wait));
    }
    let Timeout { save, set, restore } = Timeout::of(wait);
    let mut message = format!("SELECT {standby}{save};");
    for Calls { call, rows } in Function::XactLock.calls(lock) {
        // No row of many comes back: all of them are granted, or there is an error.
        let wait = match &set {
            Some(set) => format!("CASE WHEN {set} IS NOT NULL THEN {call} IS NULL END"),
            None => format!("{call} IS NULL"),
        };
        let _ = write!(message, "SELECT FROM {rows} WHERE {wait};");
    }
    let _ = write!(message, "SELECT true{restore}{told}");
    message
}
