//! A row of `pg_locks`, as a part of a lock.

use advisory_core::monitor::LockStatus;
use advisory_core::{Key, Mode};

/// The slot of a lock that a session holds or waits for. A lock with one permit has slot 1 alone.
pub(crate) struct Slot<'l> {
    pub(crate) lock: &'l LockStatus,
    /// 0 is the queue for a permit.
    pub(crate) number: u32,
}

impl<'l> Slot<'l> {
    /// `None` if a row is that of another lock.
    pub(crate) fn of(lock: &'l LockStatus, key: Key) -> Option<Self> {
        let number = key.slot_number(lock.key)?;
        // Calls that do not wait look through the queue in shared mode.
        (number > 0 || lock.mode == Mode::Exclusive).then_some(Self { lock, number })
    }

    /// Whether the session holds the lock, or one of its permits.
    pub(crate) fn is_held(&self) -> bool {
        self.lock.granted && self.number > 0
    }
}
