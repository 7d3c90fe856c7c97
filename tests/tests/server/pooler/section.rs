//! The critical sections that the locks protect.

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_verbs::Sections;
use sqlx::PgConnection;

use super::fixture::{Fixture, backend, key};

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
pub(crate) struct CheckedSections {
    pub(crate) fixture: Fixture,
    sections: Sections,
}

impl CheckedSections {
    pub(crate) fn new(fixture: Fixture) -> Self {
        let sections = Sections::new((0..KEYS).map(nth_key));
        Self { fixture, sections }
    }

    /// Asserts, in the transaction with the lock, that its backend holds these keys and no others.
    pub(crate) async fn check(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        let _inside = self.sections.enter(lock);
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
        let _inside = self.sections.enter(lock);
        let seen = self.fixture.database.advisory_locks().await;
        for expected in lock.keys() {
            let held = seen
                .iter()
                .filter(|row| row.granted && key(row) == *expected);
            assert_eq!(held.count(), 1, "{lock:?}: {seen:?}");
        }
    }
}
