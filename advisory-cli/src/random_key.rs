//! Locks on random keys, which no other program takes.

use std::hash::{BuildHasher as _, RandomState};

use advisory_core::AdvisoryLock;

/// A lock on a random key. `purpose` is part of its name.
pub(crate) fn lock(purpose: &str) -> AdvisoryLock {
    let random = RandomState::new().hash_one(purpose);
    let pid = std::process::id();
    AdvisoryLock::new(format!("advisory {purpose} {pid} {random:x}"))
}
