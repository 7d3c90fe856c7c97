//! Everything that is said to the server, and nothing else says anything.

/// How often, in milliseconds, a backend of ours looks whether its client is still there; an expression.
macro_rules! check_interval {
    () => {
        "CASE WHEN pg_catalog.strpos(pg_catalog.version(),'-linux') OPERATOR(pg_catalog.>) 0 THEN '500' \
         WHEN pg_catalog.textregexeq(pg_catalog.version(),\
         '^PostgreSQL (1[5-9]|[2-9][0-9]).*-(darwin|freebsd|netbsd|openbsd)') \
         THEN '500' ELSE '0' END"
    };
}

/// Whether the message stands in a transaction that was begun before it; an expression. One of its own begins with it.
macro_rules! in_transaction {
    () => {
        "pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.<>) pg_catalog.statement_timestamp()"
    };
}

/// Fails on a standby with `READ_ONLY_SQL_TRANSACTION`, and says nothing elsewhere; an expression. A standby grants locks, to the
/// sessions of that standby alone.
macro_rules! refuse_standby {
    () => {
        "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_xact_id() END"
    };
}

/// The database, and this run of its server, in the words of the session that asks; two columns, read with [`server`].
macro_rules! server {
    () => {
        "pg_catalog.pg_postmaster_start_time(),pg_catalog.current_database()"
    };
}

/// The database, and this run of its server, in words that every session says; an expression.
macro_rules! server_for_all {
    () => {
        "pg_catalog.concat(pg_catalog.date_part('epoch',pg_catalog.pg_postmaster_start_time()),\
         ' ',pg_catalog.current_database())"
    };
}

pub(crate) mod backend;
pub(crate) mod fencing;
pub(crate) mod function;
pub(crate) mod holder;
mod literal;
pub(crate) mod message;
pub(crate) mod monitor;
pub(crate) mod session;
pub(crate) mod state;
mod timeout;
pub(crate) mod xact;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// What a message says in the last column of its last row: whether the lock is held.
pub(crate) fn acquired(rows: &[PgRow]) -> Result<bool, sqlx::Error> {
    let last = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    last.try_get(last.len().saturating_sub(1))
}

/// What a session calls its server, from this column on; see `server!`.
pub(crate) fn server(row: &PgRow, column: usize) -> Result<String, sqlx::Error> {
    // A point in time, of which only the text is wanted.
    let started: &str = row.try_get_unchecked(column)?;
    let database: &str = row.try_get(column + 1)?;
    Ok(format!("{started} {database}"))
}
