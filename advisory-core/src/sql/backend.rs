//! What a session reports about itself.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::call::array_literal;
use super::holder::columns;
use super::origin::mark;
use super::{BACKEND_START, ClientCheck, IN_TRANSACTION, LOCK_TIMEOUT, LOCKS, SERVER, server};
use crate::key::Key;
use crate::lock::LockId;

/// The state of a connection between two transactions.
pub(crate) struct IdleState {
    /// Whether a transaction is open, also one that was begun by a statement.
    pub(crate) in_transaction: bool,
    pub(crate) server: String,
    /// Whether the default isolation level is `READ COMMITTED`.
    pub(crate) is_read_committed: bool,
}

/// Asks for the state of a connection. One row, read by [`IdleState::read`].
pub(crate) fn idle_state() -> String {
    format!(
        "SELECT {IN_TRANSACTION},{SERVER},\
         pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed'"
    )
}

impl IdleState {
    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            in_transaction: row.try_get(0)?,
            server: server(row, 1)?,
            is_read_committed: row.try_get(3)?,
        })
    }
}

/// Whether a session holds a key, and on what server.
pub(crate) struct HeldKey {
    pub(crate) is_held: bool,
    pub(crate) server: String,
    pub(crate) client_check: ClientCheck,
    /// The session's `lock_timeout` in milliseconds; 0 if it waits without a limit.
    pub(crate) lock_timeout: u64,
}

/// Whether this session holds a lock, and the server. One row, read by [`HeldKey::read`].
pub(crate) fn held_key(lock: &LockId) -> String {
    let (is_held, interval) = (is_held(lock), ClientCheck::Unknown.interval());
    let is_tcp = "pg_catalog.inet_client_addr() IS NOT NULL";
    let select = format!("SELECT {is_held},{SERVER},{interval},{LOCK_TIMEOUT},{is_tcp}");
    mark(None, &select)
}

/// Whether this session holds the first key of a lock, or one of its slots; an expression.
///
/// The columns of several slots are compared one by one, which is faster than to join their rows: a
/// session that holds a lock on the halves of two slots, and none of the slots, would be a
/// collision of two hashes.
pub(super) fn is_held(lock: &LockId) -> String {
    let mut keys = lock.held_keys();
    if lock.semaphore().is_none() {
        keys.truncate(1);
    }
    let [classids, objids, objsubids] = columns(&keys).map(|mut column| {
        column.dedup();
        array_literal(&column)
    });
    format!(
        "EXISTS(SELECT FROM {LOCKS} AS l JOIN pg_catalog.pg_database AS d \
         ON d.oid OPERATOR(pg_catalog.=) l.database \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
         AND l.classid OPERATOR(pg_catalog.=) ANY({classids}::pg_catalog.oid[]) \
         AND l.objid OPERATOR(pg_catalog.=) ANY({objids}::pg_catalog.oid[]) \
         AND l.objsubid OPERATOR(pg_catalog.=) ANY({objsubids}::pg_catalog.int2[]) \
         AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
    )
}

impl HeldKey {
    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let client_check = match (row.try_get(3)?, row.try_get(5)?) {
            ("0", _) => ClientCheck::Unknown,
            (_, false) => ClientCheck::Supported,
            (_, true) => ClientCheck::SupportedOverTcp,
        };
        Ok(Self {
            is_held: row.try_get(0)?,
            server: server(row, 1)?,
            client_check,
            lock_timeout: row.try_get::<i64, _>(4)?.unsigned_abs(),
        })
    }
}

/// When a backend started, as its server tells other sessions.
pub(crate) enum BackendStart {
    /// A text that is the same one as long as it is the same backend.
    At(String),
    /// There is a backend, and the role that has asked may not know more of it.
    Hidden,
    Gone,
    /// Another server answered, which does not know the backends of the primary.
    Standby,
}

impl BackendStart {
    /// Asks for the start of a backend. One row, read by [`read`](Self::read).
    pub(crate) fn of(pid: i32) -> String {
        format!(
            "SELECT pg_catalog.pg_is_in_recovery(),(SELECT {BACKEND_START} \
             FROM pg_catalog.pg_stat_get_activity('{pid}'::pg_catalog.int4) AS a)"
        )
    }

    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        if row.try_get(0)? {
            return Ok(Self::Standby);
        }
        let start: Option<String> = row.try_get(1)?;
        Ok(match start {
            None => Self::Gone,
            Some(start) if start.is_empty() => Self::Hidden,
            Some(start) => Self::At(start),
        })
    }
}

/// The keys that this session holds, in both scopes.
pub(crate) const HELD_KEYS: &str = "SELECT l.classid::pg_catalog.int8,l.objid::pg_catalog.int8,l.objsubid \
     FROM pg_catalog.pg_lock_status() AS l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
     AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.granted";

/// Reads the rows of [`HELD_KEYS`], without the locks of extensions.
pub(crate) fn read_keys(rows: &[PgRow]) -> Vec<Key> {
    rows.iter().filter_map(read_key).collect()
}

fn read_key(row: &PgRow) -> Option<Key> {
    let half = |column| {
        let half: i64 = row.try_get(column).ok()?;
        u32::try_from(half).ok()
    };
    Key::from_pg_locks(half(0)?, half(1)?, row.try_get(2).ok()?)
}
