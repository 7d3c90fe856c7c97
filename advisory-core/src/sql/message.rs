//! The messages of the verbs: simple-protocol text with literals of our own making.
//!
//! One such message reaches one backend whole, also through a transaction-mode pooler, where the statements of the extended
//! protocol can be torn apart; and its statements cost one round trip together. Every name is qualified, operators included,
//! so that no `search_path` can put another in its place.

use std::fmt::Write as _;
use std::time::Duration;

use crate::lock::Mode;
use crate::wait::Wait;
use crate::{AdvisoryLock, Key};

/// Makes a backend look, while it waits, whether its client is still there: without it, a waiter outlives its client until the
/// lock is granted. Counts from the next statement on, until the transaction ends. The setting exists everywhere from
/// PostgreSQL 14 on, but is refused where the platform cannot tell: there it stays off.
const NOTICE_CLOSED_CLIENT: &str = "SELECT pg_catalog.set_config('client_connection_check_interval',\
    CASE WHEN pg_catalog.textregexeq(pg_catalog.version(),\
    '-linux|^PostgreSQL (1[5-9]|[2-9][0-9]).*-(darwin|freebsd|netbsd|openbsd)')\
    THEN '500' ELSE '0' END,true)";

/// The text of `lock_timeout` is carried over in a setting of our own: it prints as `1min`, which nobody should parse, and
/// `RESET` would lose what the user has `SET`.
const SAVE_TIMEOUT: &str = "pg_catalog.set_config('advisory.lock_timeout',pg_catalog.current_setting('lock_timeout'),true)";
const RESTORE_TIMEOUT: &str = ",pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('advisory.lock_timeout'),true)";

/// Opens a transaction that notices when its client is gone.
pub(crate) fn begin() -> String {
    format!("{NOTICE_CLOSED_CLIENT};BEGIN")
}

/// Opens a transaction that holds the lock.
///
/// `BEGIN` comes last: until then the message is one implicit transaction, which the server itself rolls back if the lock is
/// not to be had, and which `BEGIN` makes explicit if it is. So the session is either in a transaction with the lock, or idle.
pub(crate) fn begin_and_lock(lock: &AdvisoryLock, wait: Wait) -> String {
    format!("{};BEGIN", wait_for(lock, wait))
}

/// Waits for the lock inside a transaction, and leaves the way back open: see [`BACK_TO_SAVEPOINT`].
pub(crate) fn lock_after_savepoint(lock: &AdvisoryLock, wait: Wait) -> String {
    format!(
        "SAVEPOINT advisory;{};RELEASE SAVEPOINT advisory",
        wait_for(lock, wait)
    )
}

/// Makes the transaction usable again after [`lock_after_savepoint`] has failed; it undoes the settings as well.
pub(crate) const BACK_TO_SAVEPOINT: &str =
    "ROLLBACK TO SAVEPOINT advisory;RELEASE SAVEPOINT advisory";

/// Asks for the lock without waiting; one row, one boolean. If it answers false, some of several keys may be held.
pub(crate) fn try_lock(lock: &AdvisoryLock) -> String {
    format!("SELECT {}", try_expression(lock))
}

/// Asks for several keys without waiting: all, or none. One row, one boolean.
///
/// The block's exception handler is a savepoint that costs no round trip and leaves no error in the server's log.
pub(crate) fn try_lock_all_or_none(lock: &AdvisoryLock) -> String {
    let acquired = try_expression(lock);
    format!(
        "DO LANGUAGE plpgsql $advisory$BEGIN \
         IF NOT ({acquired}) THEN RAISE SQLSTATE 'AL000';END IF;\
         PERFORM pg_catalog.set_config('advisory.acquired','true',true);\
         EXCEPTION WHEN SQLSTATE 'AL000' THEN \
         PERFORM pg_catalog.set_config('advisory.acquired','false',true);\
         END$advisory$;\
         SELECT pg_catalog.current_setting('advisory.acquired')::pg_catalog.bool"
    )
}

fn wait_for(lock: &AdvisoryLock, wait: Wait) -> String {
    let timeout = match wait {
        Wait::Server | Wait::No => None,
        Wait::For(limit) => Some(limit),
        Wait::Forever => Some(Duration::ZERO),
    };
    let set = timeout.map(set_timeout).unwrap_or_default();
    let restore = timeout.map(|_| RESTORE_TIMEOUT).unwrap_or_default();
    let function = function(lock.mode(), "pg_catalog.pg_advisory_xact_lock");
    if let [key] = lock.keys() {
        return format!(
            "{NOTICE_CLOSED_CLIENT};SELECT {set}{function}({}){restore}",
            literal(*key)
        );
    }
    let left = timeout
        .filter(|limit| !limit.is_zero())
        .map(time_left)
        .unwrap_or_default();
    let mut message = format!("{NOTICE_CLOSED_CLIENT};SELECT {set}true");
    for Rows { columns, rows } in Rows::of(lock.keys()) {
        let _ = write!(message, ";SELECT {left}{function}({columns}) FROM {rows}");
    }
    let _ = write!(message, ";SELECT true{restore}");
    message
}

/// `lock_timeout` counts anew for every key; this keeps them all to the one deadline.
fn time_left(limit: Duration) -> String {
    format!(
        "pg_catalog.set_config('lock_timeout',GREATEST(1,{} OPERATOR(pg_catalog.-) \
         (1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() \
         OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()))::pg_catalog.int4)::pg_catalog.text,true),",
        milliseconds(limit)
    )
}

/// Replaces `lock_timeout`, the first items of a target list; zero switches it off.
fn set_timeout(limit: Duration) -> String {
    format!(
        "{SAVE_TIMEOUT},pg_catalog.set_config('lock_timeout','{}',true),",
        milliseconds(limit)
    )
}

/// Rounded up, so that a wait is never shorter than was asked for.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_micros().div_ceil(1000)
}

/// True if every key was granted; stops at the first that is not.
fn try_expression(lock: &AdvisoryLock) -> String {
    let function = function(lock.mode(), "pg_catalog.pg_try_advisory_xact_lock");
    if let [key] = lock.keys() {
        return format!("{function}({})", literal(*key));
    }
    let mut expression = String::from("true");
    for Rows { columns, rows } in Rows::of(lock.keys()) {
        let _ = write!(
            expression,
            " AND NOT EXISTS(SELECT FROM {rows} WHERE NOT {function}({columns}))"
        );
    }
    expression
}

fn function(mode: Mode, exclusive: &str) -> String {
    match mode {
        Mode::Exclusive => exclusive.to_owned(),
        Mode::Shared => format!("{exclusive}_shared"),
    }
}

/// Quoted, because the smallest number is not a `bigint` when it is written bare.
fn literal(key: Key) -> String {
    match key {
        Key::BigInt(key) => format!("'{key}'::pg_catalog.int8"),
        Key::IntPair(a, b) => format!("'{a}'::pg_catalog.int4,'{b}'::pg_catalog.int4"),
    }
}

/// Several keys of one space, in order, as rows.
struct Rows {
    columns: &'static str,
    rows: String,
}

impl Rows {
    fn of(keys: &[Key]) -> impl Iterator<Item = Self> {
        let mut bigints = Vec::new();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for key in keys {
            match *key {
                Key::BigInt(key) => bigints.push(key),
                Key::IntPair(a, b) => {
                    first.push(a);
                    second.push(b);
                }
            }
        }
        let bigints = (!bigints.is_empty()).then(|| Self {
            columns: "k",
            rows: format!(
                "pg_catalog.unnest({}::pg_catalog.int8[]) AS k",
                array(&bigints)
            ),
        });
        let int_pairs = (!first.is_empty()).then(|| Self {
            columns: "k.a,k.b",
            rows: format!(
                "ROWS FROM(pg_catalog.unnest({}::pg_catalog.int4[]),pg_catalog.unnest({}::pg_catalog.int4[])) AS k(a,b)",
                array(&first),
                array(&second)
            ),
        });
        bigints.into_iter().chain(int_pairs)
    }
}

/// `'{1,2}'`
pub(super) fn array<T: std::fmt::Display>(items: &[T]) -> String {
    let mut text = String::from("'{");
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{item}");
    }
    text.push_str("}'");
    text
}
