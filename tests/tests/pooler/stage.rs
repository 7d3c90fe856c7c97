//! The sections that the locks guard.

use std::sync::atomic::{AtomicBool, Ordering};

use advisory_core::{AdvisoryLock, Error, Key};
use sqlx::PgConnection;

use crate::scene::{Scene, backend, key};

pub(crate) const KEYS: usize = 30;

/// In both key spaces.
pub(crate) fn nth_key(n: usize) -> Key {
    let n = i32::try_from(n % KEYS).unwrap();
    if n % 2 == 0 {
        Key::from(i64::from(n) - 7)
    } else {
        Key::from((n, -n))
    }
}

/// What the bodies under the locks see: the scene, and each other.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    /// For each key, whether somebody is inside.
    inside: [AtomicBool; KEYS],
}

/// Somebody inside the sections of some keys; leaves them when it is dropped, wherever that is.
struct Inside<'s>(Vec<&'s AtomicBool>);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        for section in &self.0 {
            section.store(false, Ordering::SeqCst);
        }
    }
}

impl Stage {
    pub(crate) fn new(scene: Scene) -> Self {
        let inside = [const { AtomicBool::new(false) }; KEYS];
        Self { scene, inside }
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

    /// In the transaction with the lock: its backend holds these keys and nothing else.
    pub(crate) async fn check(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        let _inside = self.enter(lock);
        let pid = backend(conn).await?;
        let held = self.scene.held_by(pid).await;
        let keys = lock.keys().iter();
        let expected: Vec<_> = keys.map(|key| (*key, "ExclusiveLock".to_owned())).collect();
        assert_eq!(held, expected, "{lock:?}");
        Ok(())
    }

    /// Beside the transaction with the lock, where no one knows its backend: one backend holds these keys.
    pub(crate) async fn check_beside(&self, lock: &AdvisoryLock) {
        let _inside = self.enter(lock);
        let seen = self.scene.database.advisory_locks().await;
        for expected in lock.keys() {
            let held = seen
                .iter()
                .filter(|row| row.granted && key(row) == *expected);
            assert_eq!(held.count(), 1, "{lock:?}: {seen:?}");
        }
    }
}
