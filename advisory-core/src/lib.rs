//! PostgreSQL advisory locks for [sqlx].

mod abandon;
mod attribute;
mod connection;
mod error;
mod executor;
mod function;
mod key;
mod lock;
mod observe;
pub mod scheme;
mod skipped;
mod sql;
mod transaction;
mod wait;
mod xact;

pub use error::{Error, Holder};
pub use executor::LockExecutor;
pub use function::{
    lock, lock_shared, try_lock, try_lock_shared, try_xact_lock, try_xact_lock_shared, unlock,
    unlock_all, unlock_shared, xact_lock, xact_lock_shared,
};
pub use key::Key;
pub use lock::AdvisoryLock;
pub use scheme::KeyScheme;
pub use skipped::Skipped;

#[cfg(feature = "macros")]
pub use advisory_macros::advisory;

#[doc(hidden)]
pub mod __private {
    pub use crate::attribute::{
        ConnectionScope, Joined, OnConnection, OnPool, Outcome, PoolScope, SkippedOutcome, Target,
    };
}
