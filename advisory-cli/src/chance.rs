//! Locks that nobody else takes.

use std::hash::{BuildHasher as _, RandomState};

use advisory_core::AdvisoryLock;

/// A lock on a key of chance: nobody is kept out by it.
pub(crate) fn lock(what: &str) -> AdvisoryLock {
    let chance = RandomState::new().hash_one(what);
    AdvisoryLock::new(format!("advisory {what} {} {chance:x}", std::process::id()))
}
