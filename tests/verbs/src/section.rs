//! The critical sections that locks protect.

use std::sync::atomic::{AtomicI32, Ordering};

use advisory_core::{AdvisoryLock, Key, Mode};

/// A critical section for each key.
///
/// The value of a section is -1 while it is held exclusively, otherwise the number of shared
/// holders, or of holders of a permit.
pub struct Sections(Vec<(Key, AtomicI32)>);

/// A holder in some sections. It leaves them when it is dropped.
pub struct Inside<'s> {
    sections: Vec<&'s AtomicI32>,
    step: i32,
}

impl Sections {
    /// Sections for these keys, which nobody is in.
    pub fn new(keys: impl Iterator<Item = Key>) -> Self {
        Self(keys.map(|key| (key, AtomicI32::new(0))).collect())
    }

    /// Enters the sections of all keys of the lock.
    ///
    /// # Panics
    ///
    /// If another holder is inside that the lock excludes, as many as the lock has permits, or a
    /// key has no section.
    pub fn enter(&self, lock: &AdvisoryLock) -> Inside<'_> {
        let permits = i32::try_from(lock.id().permits()).unwrap_or(i32::MAX);
        let is_shared = lock.mode() == Mode::Shared || permits > 1;
        let most = if permits > 1 { permits } else { i32::MAX };
        let mut inside = Inside {
            sections: Vec::new(),
            step: if is_shared { 1 } else { -1 },
        };
        for key in lock.keys() {
            let section = self.0.iter().find(|(other, _)| other == key);
            let (_, section) = section.expect("the key has a section");
            let before = section.fetch_add(inside.step, Ordering::SeqCst);
            inside.sections.push(section);
            let has_room = before == 0 || before > 0 && is_shared && before < most;
            assert!(has_room, "too many holders of {key}: {before}, {lock:?}");
        }
        inside
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        for section in &self.sections {
            section.fetch_sub(self.step, Ordering::SeqCst);
        }
    }
}
