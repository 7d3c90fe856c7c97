//! PostgreSQL's advisory lock functions, one checked statement each.
//!
//! `query!` checks each statement when the library is built. It is sent with the key in place of
//! its parameters: behind a pooler that lends a session for a transaction, a prepared statement can
//! be another client's of the same name, and lock another key.

use sqlx::postgres::PgRow;
use sqlx::{Execute as _, Row as _, SqlStr};

use super::call::Function;
use super::origin::mark;
use super::{ON_PRIMARY, SERVER, server};
use crate::key::Key;
use crate::lock::Mode;

/// The text of a checked statement, in both key spaces.
macro_rules! checked {
    ($key:expr, $function:literal) => {
        match $key {
            Key::BigInt(key) => sqlx::query!("SELECT pg_catalog." + $function + "($1)", key).sql(),
            Key::IntPair(a, b) => {
                sqlx::query!("SELECT pg_catalog." + $function + "($1, $2)", a, b).sql()
            }
        }
    };
}

fn statement(function: Function, mode: Mode, key: Key) -> SqlStr {
    use {Function as F, Mode as M};
    match (function, mode) {
        (F::Lock, M::Exclusive) => checked!(key, "pg_advisory_lock"),
        (F::Lock, M::Shared) => checked!(key, "pg_advisory_lock_shared"),
        (F::TryLock, M::Exclusive) => checked!(key, "pg_try_advisory_lock"),
        (F::TryLock, M::Shared) => checked!(key, "pg_try_advisory_lock_shared"),
        (F::XactLock, M::Exclusive) => checked!(key, "pg_advisory_xact_lock"),
        (F::XactLock, M::Shared) => checked!(key, "pg_advisory_xact_lock_shared"),
        (F::TryXactLock, M::Exclusive) => checked!(key, "pg_try_advisory_xact_lock"),
        (F::TryXactLock, M::Shared) => checked!(key, "pg_try_advisory_xact_lock_shared"),
        (F::Unlock, M::Exclusive) => checked!(key, "pg_advisory_unlock"),
        (F::Unlock, M::Shared) => checked!(key, "pg_advisory_unlock_shared"),
    }
}

/// The message of a function that locks: one row, or none on a standby.
pub(crate) fn lock(function: Function, mode: Mode, key: Key) -> String {
    let text = with_literals(&statement(function, mode, key), key);
    mark(None, &format!("{text},{SERVER}{ON_PRIMARY}"))
}

/// The answer of a function that locks.
pub(crate) struct Answer {
    /// Whether it locked; a function that waits always does.
    pub(crate) acquired: bool,
    pub(crate) server: String,
}

impl Answer {
    /// Reads the row of [`lock`].
    pub(crate) fn read(function: Function, row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            acquired: function.waits() || row.try_get(0)?,
            server: server(row, 1)?,
        })
    }
}

impl Answer {
    /// The answer without its row: the server, which is not known then, has to be asked again.
    pub(crate) fn after_wait() -> Self {
        Self {
            acquired: true,
            server: String::new(),
        }
    }
}

/// The message of `pg_advisory_unlock`: one row, whether this session held the lock.
pub(crate) fn unlock(mode: Mode, key: Key) -> String {
    with_literals(&statement(Function::Unlock, mode, key), key)
}

/// The message of `pg_advisory_unlock_all`.
pub(crate) fn unlock_all() -> String {
    let statement = sqlx::query!("SELECT pg_catalog.pg_advisory_unlock_all()").sql();
    statement.as_str().to_owned()
}

fn with_literals(text: &SqlStr, key: Key) -> String {
    let text = text.as_str();
    match key {
        Key::BigInt(key) => text.replace("$1", &format!("'{key}'")),
        Key::IntPair(a, b) => text
            .replace("$1", &format!("'{a}'"))
            .replace("$2", &format!("'{b}'")),
    }
}
