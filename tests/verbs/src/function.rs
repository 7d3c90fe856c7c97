//! PostgreSQL's functions that take a lock, as values.

use std::fmt;

use advisory_core::{
    Error, Key, lock, lock_shared, try_lock, try_lock_shared, try_xact_lock, try_xact_lock_shared,
    unlock, unlock_shared, xact_lock, xact_lock_shared,
};
use sqlx::PgConnection;

/// A function that takes a lock on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// True if the lock ends with the transaction, and not with the session.
    pub is_xact: bool,
    /// True if the function does not wait.
    pub tries: bool,
    /// True if the lock is shared.
    pub is_shared: bool,
}

impl Function {
    /// Every function.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        (0..8).map(|n| Self {
            is_xact: n & 4 == 0,
            tries: n & 2 != 0,
            is_shared: n & 1 != 0,
        })
    }

    /// Calls the function. Returns whether the lock was granted.
    pub async fn call(self, conn: &mut PgConnection, key: Key) -> Result<bool, Error> {
        match (self.is_xact, self.tries, self.is_shared) {
            (true, false, false) => xact_lock(conn, key).await?,
            (true, false, true) => xact_lock_shared(conn, key).await?,
            (true, true, false) => return try_xact_lock(conn, key).await,
            (true, true, true) => return try_xact_lock_shared(conn, key).await,
            (false, false, false) => lock(conn, key).await?,
            (false, false, true) => lock_shared(conn, key).await?,
            (false, true, false) => return try_lock(conn, key).await,
            (false, true, true) => return try_lock_shared(conn, key).await,
        }
        Ok(true)
    }

    /// Releases a lock of the session that this function has taken. Returns whether it was held.
    pub async fn unlock(self, conn: &mut PgConnection, key: Key) -> Result<bool, Error> {
        if self.is_shared {
            unlock_shared(conn, key).await
        } else {
            unlock(conn, key).await
        }
    }

    /// The mode of the lock in `pg_locks`.
    pub fn mode(self) -> &'static str {
        if self.is_shared {
            "ShareLock"
        } else {
            "ExclusiveLock"
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tries = if self.tries { "try_" } else { "" };
        let xact = if self.is_xact { "xact_" } else { "" };
        let shared = if self.is_shared { "_shared" } else { "" };
        f.pad(&format!("{tries}{xact}lock{shared}"))
    }
}
