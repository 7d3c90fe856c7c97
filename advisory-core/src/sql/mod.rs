//! The text of every message, the sender, and what the server's errors mean.
//!
//! The messages are pure functions: simple-protocol text with literals of our own making. One such
//! message reaches one backend whole, behind a transaction-mode pooler too, and its statements cost
//! one round trip together. Every name is qualified, operators included, so that no `search_path`
//! can replace it. [`send`](send::send) sends them; what a message returns is read by a function
//! beside its text.

pub(crate) mod application_name;
pub(crate) mod backend;
mod call;
pub(crate) mod caller_transaction;
pub(crate) mod cancel;
pub(crate) mod fencing;
pub(crate) mod function;
pub(crate) mod holder;
pub(crate) mod leader;
pub(crate) mod lock_session;
pub(crate) mod monitor;
pub(crate) mod origin;
pub(crate) mod period;
pub(crate) mod permits;
#[cfg(feature = "sea-orm")]
pub(crate) mod row_count;
pub(crate) mod send;
pub(crate) mod session;
pub(crate) mod sqlstate;
pub(crate) mod tcp_keepalive;
mod timeout;
pub(crate) mod transaction;

pub(crate) use self::call::Function;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use crate::time_bounds::CLIENT_CHECK_INTERVAL;

/// Whether the message stands in a transaction that was begun before it; an expression. The server
/// begins an implicit transaction at the time of the message.
const IN_TRANSACTION: &str =
    "pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.<>) pg_catalog.statement_timestamp()";

/// Fails on a standby with `read_only_sql_transaction`, and is null elsewhere; an expression.
macro_rules! refuse_standby {
    () => {
        "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_xact_id() END"
    };
}
const REFUSE_STANDBY: &str = refuse_standby!();

/// Fails on a standby, too, and also with `invalid_text_representation` unless the transaction is
/// `READ COMMITTED`: at other levels, the snapshot of a transaction is older than the lock that it
/// waits for.
const REFUSE_STANDBY_AND_OLD_SNAPSHOT: &str = concat!(
    refuse_standby!(),
    ",CASE WHEN pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'read committed' \
     THEN pg_catalog.current_setting('transaction_isolation')::pg_catalog.int4 END"
);

/// No row on a standby; a condition.
const ON_PRIMARY: &str = " WHERE NOT pg_catalog.pg_is_in_recovery()";

/// The rows of `pg_locks`, read below the view: a probe must not fail where the right on the view
/// was revoked.
const LOCKS: &str = "pg_catalog.pg_lock_status()";

/// The database, and this run of its server, as the session's settings write them; two columns,
/// read by [`server`].
const SERVER: &str = "pg_catalog.pg_postmaster_start_time(),pg_catalog.current_database()";

/// A `timestamptz` as an integer, in microseconds. Its text would depend on the `DateStyle` and the
/// `TimeZone` of the session, and that of a float on `extra_float_digits`.
macro_rules! microseconds {
    ($time:literal) => {
        concat!(
            "(pg_catalog.date_part('epoch',",
            $time,
            ") OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8"
        )
    };
}

/// The database, and this run of its server, in the same words in every session; an expression.
const SERVER_IN_ALL_SESSIONS: &str = concat!(
    "pg_catalog.concat(",
    microseconds!("pg_catalog.pg_postmaster_start_time()"),
    ",' ',pg_catalog.current_database())"
);

/// When the backend `a` started, in the same words in every session; an expression. The text is
/// empty if the role of the session may not know.
const BACKEND_START: &str = concat!("pg_catalog.concat(", microseconds!("a.backend_start"), ")");

/// When the last statement of the backend `a` started; an expression.
const QUERY_START: &str = microseconds!("a.query_start");

/// The session's `lock_timeout` in milliseconds; an expression.
const LOCK_TIMEOUT: &str = "(SELECT s.setting::pg_catalog.int8 FROM pg_catalog.pg_settings AS s \
     WHERE s.name OPERATOR(pg_catalog.=) 'lock_timeout')";

/// The name of the database, as the server knows it. One row.
#[cfg(feature = "migrate")]
pub(crate) const DATABASE_NAME: &str = "SELECT pg_catalog.current_database()";

/// What is known of a server: whether its platform can notice that a client has gone, and whether
/// it is reached over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientCheck {
    Unknown,
    /// Over a Unix-domain socket.
    Supported,
    SupportedOverTcp,
}

impl ClientCheck {
    /// The value of `client_connection_check_interval`; an expression. The setting exists
    /// everywhere from PostgreSQL 14 on, but a platform that does not support it refuses a value
    /// other than zero.
    fn interval(self) -> String {
        if self != Self::Unknown {
            return format!("'{CLIENT_CHECK_INTERVAL}'");
        }
        format!(
            "CASE WHEN pg_catalog.strpos(pg_catalog.version(),'-linux') OPERATOR(pg_catalog.>) 0 THEN '{CLIENT_CHECK_INTERVAL}' \
             WHEN pg_catalog.textregexeq(pg_catalog.version(),\
             '^PostgreSQL (1[5-9]|[2-9][0-9]).*-(darwin|freebsd|netbsd|openbsd)') \
             THEN '{CLIENT_CHECK_INTERVAL}' ELSE '0' END"
        )
    }

    /// Makes a backend check, while it waits, whether its client is still there; a statement.
    /// Without it, a waiter outlives its client until the lock is granted. It counts from the next
    /// statement on, until the transaction ends.
    fn enable(self) -> String {
        match self {
            // A third of the time of the other statement goes into finding the platform.
            Self::Supported | Self::SupportedOverTcp => {
                format!("SET LOCAL client_connection_check_interval='{CLIENT_CHECK_INTERVAL}'")
            }
            Self::Unknown => format!(
                "SELECT pg_catalog.set_config('client_connection_check_interval',{},true)",
                self.interval()
            ),
        }
    }

    /// Makes the kernel check whether the client's machine is still there, until the transaction
    /// ends; items of a target list, each after a comma. It costs less there than as a statement.
    fn keep_alive(self) -> String {
        if self.may_be_over_tcp() {
            // The planner stops at the first of them that decides: none does.
            format!(",({}) IS NOT NULL", tcp_keepalive::set_in_transaction())
        } else {
            String::new()
        }
    }

    /// Whether TCP keepalives can have an effect.
    fn may_be_over_tcp(self) -> bool {
        self != Self::Supported
    }
}

/// Whether the lock was granted: the last column of the last row.
pub(crate) fn granted(rows: &[PgRow]) -> Result<bool, sqlx::Error> {
    let last = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    last.try_get(last.len().saturating_sub(1))
}

/// Whether the lock was granted by a message that was sent with [`send_wait`](send::send_wait). One
/// that did wait has no rows, and would have failed otherwise.
pub(crate) fn is_granted(rows: Option<&[PgRow]>) -> Result<bool, sqlx::Error> {
    rows.map_or(Ok(true), granted)
}

/// The isolation level, in words, before the result: the columns of the last row of
/// [`begin_isolated`](transaction::begin_isolated).
pub(crate) fn level(rows: &[PgRow]) -> Result<&str, sqlx::Error> {
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// Reads text that can be in the encoding of another database. What is not UTF-8 is replaced.
pub(crate) fn lossy_text(row: &PgRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// Reads text whose bytes are written in hexadecimal.
pub(crate) fn raw_text(row: &PgRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    let hex: Option<&str> = row.try_get(column)?;
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    Ok(hex.map(|hex| {
        let bytes: Vec<_> = hex.as_bytes().chunks(2).filter_map(byte).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// Reads the columns of [`SERVER`], from this column on.
fn server(row: &PgRow, column: usize) -> Result<String, sqlx::Error> {
    // A point in time, of which only the text matters.
    let started: &str = row.try_get_unchecked(column)?;
    let database: &str = row.try_get(column + 1)?;
    Ok(format!("{started} {database}"))
}

/// A name that is unique among all that a server can see, and short enough for an identifier.
pub(crate) fn unique_name(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(count);
    format!("{what} {}-{count}-{random:x}", std::process::id())
}
