//! The critical sections that the locks protect.

use std::sync::atomic::{AtomicBool, Ordering};

use advisory_core::{AdvisoryLock, Error, Key};
use sqlx::PgConnection;

use crate::fixture::{Fixture, backend, key};

pub(crate) const KEYS: usize = 30;

/// A key for each section, in both key spaces.
pub(crate) fn nth_key(n: usize) -> Key {
    let n = i32::try_from(n % KEYS).unwrap();
    if n % 2 == 0 {
        Key::from(i64::from(n) - 7)
    } else {
        Key::from((n, -n))
    }
}

/// The critical sections of all keys, and the fixture.
pub(crate) struct Sections {
    pub(crate) fixture: Fixture,
    /// For each key, whether a body is in its section.
    inside: [AtomicBool; KEYS],
}

/// A body in the sections of some keys. It leaves them when this value is dropped.
struct Inside<'s>(Vec<&'s AtomicBool>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        for section in &self.0 {
            section.store(false, Ordering::SeqCst);
        }
    }
}

impl Sections {
    pub(crate) fn new(fixture: Fixture) -> Self {
        let inside = [const { AtomicBool::new(false) }; KEYS];
        Self { fixture, inside }
    }

    fn enter(&self, lock: &AdvisoryLock) -> Inside<'_> {
        let mut inside = Inside(Vec::new());
        for key in lock.keys() {
            let n = (0..KEYS).find(|n| nth_key(*n) == *key).unwrap();
            let was_inside = self.inside[n].swap(true, Ordering::SeqCst);
            assert!(!was_inside, "two holders of {key}: {lock:?}");
            inside.0.push(&self.inside[n]);
        }
        inside
    }

    /// Asserts, in the transaction with the lock, that its backend holds these keys and no others.
    pub(crate) async fn check(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        let _inside = self.enter(lock);
        let pid = backend(conn).await?;
        let held = self.fixture.held_by(pid).await;
        let keys = lock.keys().iter();
        let expected: Vec<_> = keys.map(|key| (*key, "ExclusiveLock".to_owned())).collect();
        assert_eq!(held, expected, "{lock:?}");
        Ok(())
    }

    /// Asserts, outside the transaction with the lock, that one backend holds these keys. The body
    /// does not know which one.
    pub(crate) async fn check_beside(&self, lock: &AdvisoryLock) {
        let _inside = self.enter(lock);
        let seen = self.fixture.database.advisory_locks().await;
        for expected in lock.keys() {
            let held = seen
                .iter()
                .filter(|row| row.granted && key(row) == *expected);
            assert_eq!(held.count(), 1, "{lock:?}: {seen:?}");
        }
    }
}
