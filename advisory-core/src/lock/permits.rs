//! Locks that several may hold at once.

use super::{AdvisoryLock, LockId, Mode};
use crate::error::{Error, UnsupportedReason};
use crate::key::{Key, MOST_SLOTS};

impl AdvisoryLock {
    /// Lets at most this many hold the lock at once, in all processes and scopes together: a
    /// counting semaphore, without a table.
    ///
    /// A holder takes one of the lock's slots, which are advisory locks as well; see [`Key::slot`]
    /// for their keys. So a permit cannot get lost: it is free when its transaction or session
    /// ends, however that ends. `permits(1)` is the lock itself. If the number changes from one
    /// deployment to the next, there are never more holders than the larger number allows.
    ///
    /// A free slot costs the round trips of the lock itself. A call that finds none queues for the
    /// lock's turnstile, one more advisory lock. Only the first in this queue looks for a free
    /// slot, every 1 to 50 ms, and lets the next one in when it has a slot. So permits are granted
    /// in the order of the queue, and calls that do not wait are refused while others queue.
    ///
    /// - A wait in a transaction, or in a session of its own, is one statement of PL/pgSQL. Every
    ///   role may use the language, unless that right was revoked or the language dropped.
    /// - The server cannot see a deadlock with a wait for a slot: set a [`timeout`](Self::timeout)
    ///   where a holder waits for something else.
    /// - A transaction that asks for the same lock again may get a second permit, and may wait for
    ///   it like everybody else.
    /// - A session that waits for a slot holds a snapshot, as every wait does; see
    ///   [`polling`](Self::polling).
    /// - Behind a pooler in transaction mode it works in every scope. On a
    ///   [`LockSession`](crate::LockSession), a call looks for a free slot in pauses there, and
    ///   those who queue elsewhere come first.
    ///
    /// If not set, one. The number is at least 1 and at most 1,000; a lock with more than one
    /// permit is exclusive and has one key. Anything else is
    /// [`UnsupportedReason::Permits`](crate::UnsupportedReason::Permits) when the lock is acquired,
    /// and nothing is sent. [`lead`](Self::lead) and [`every`](Self::every), which need to be
    /// alone, refuse several permits as well.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn export() {}
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// // At most ten exports at a time in the whole fleet.
    /// let lock = AdvisoryLock::new("export").permits(10).timeout(Duration::from_secs(60));
    /// let guard = lock.acquire(pool).await?;
    /// guard.until_lost(export()).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn permits(mut self, permits: u32) -> Self {
        self.id.permits = permits;
        self
    }

    /// The lock for which those queue who find no free slot.
    pub(crate) fn turnstile(&self) -> Self {
        let key = self.id.semaphore().map(|key| key.slot(0));
        Self {
            id: self.id.with_keys(key.into_iter().collect()),
            polling: None,
            ..self.clone()
        }
    }

    /// Refuses what a lock with several permits cannot be.
    pub(crate) fn check_permits(&self) -> Result<(), Error> {
        let refuse = |problem| {
            let permits = self.id.permits;
            Err(Error::unsupported(UnsupportedReason::Permits {
                permits,
                problem,
            }))
        };
        match (self.id.permits, self.mode(), self.keys()) {
            (1, ..) => Ok(()),
            (0, ..) => refuse("nobody could hold the lock; expected at least 1"),
            (permits, ..) if permits > MOST_SLOTS => refuse(
                "each permit is a lock of its own, for which a try asks; expected at most 1000",
            ),
            (_, Mode::Shared, _) => {
                refuse("a shared lock has no limit of holders; remove `shared`, or `permits`")
            }
            (.., [_]) => Ok(()),
            _ => refuse(
                "several locks at once have one permit each; take the lock with permits by itself",
            ),
        }
    }
}

impl LockId {
    /// How many may hold the lock at once; see [`AdvisoryLock::permits`].
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// The key whose slots are the permits; `None` if the lock has one permit.
    pub(crate) fn semaphore(&self) -> Option<Key> {
        match self.keys() {
            [key] if self.permits > 1 => Some(*key),
            _ => None,
        }
    }

    /// Every key that a holder may have: the slots of a lock with several permits, otherwise its
    /// keys.
    pub(crate) fn held_keys(&self) -> Vec<Key> {
        match self.semaphore() {
            Some(key) => key.slots(self.permits),
            None => self.keys().to_vec(),
        }
    }

    /// The slot as a lock of its own.
    pub(crate) fn of_slot(&self, slot: Key) -> Self {
        self.with_keys(vec![slot])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(lock: &AdvisoryLock) -> Option<String> {
        lock.check_permits().err().map(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let lock = AdvisoryLock::new("export");
        for permits in [1, 2, 10, MOST_SLOTS] {
            assert_eq!(problem(&lock.clone().permits(permits)), None);
        }
        for (refused, says) in [
            (lock.clone().permits(0), "at least 1"),
            (lock.clone().permits(MOST_SLOTS + 1), "at most 1000"),
            (lock.clone().permits(u32::MAX), "at most 1000"),
            (lock.clone().permits(2).shared(), "`shared`"),
            (AdvisoryLock::all(["a", "b"]).permits(2), "by itself"),
            (AdvisoryLock::all([0_i32; 0]).permits(2), "by itself"),
        ] {
            let problem = problem(&refused);
            assert!(
                problem.as_ref().is_some_and(|text| text.contains(says)),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn one_permit_is_the_lock_itself() {
        let lock = AdvisoryLock::new("export");
        assert_eq!(lock.clone().permits(1).id(), lock.id());
        assert_eq!(
            lock.clone().shared().permits(1).check_permits().ok(),
            Some(())
        );
        assert_eq!(
            AdvisoryLock::all(["a", "b"])
                .permits(1)
                .check_permits()
                .ok(),
            Some(())
        );
        assert_eq!(lock.id().held_keys(), lock.keys());
    }

    #[test]
    fn a_smaller_number_has_the_first_slots_of_a_larger_one() {
        let slots = |permits| {
            AdvisoryLock::new("export")
                .permits(permits)
                .id()
                .held_keys()
        };
        assert_eq!(slots(10)[..5], slots(5));
        assert_eq!(slots(3)[0], Key::from("export"));
    }

    #[test]
    fn a_namespace_applies_to_every_slot() {
        let lock = AdvisoryLock::new("export").permits(3).namespace(7);
        let in_namespace = |key: &Key| matches!(key, Key::IntPair(7, _));
        assert!(lock.id().held_keys().iter().all(in_namespace));
        assert_eq!(AdvisoryLock::from(lock.id()).id().permits(), 3);
        assert_eq!(AdvisoryLock::all([&lock]).id().permits(), 1);
    }
}
