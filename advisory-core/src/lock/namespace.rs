//! Locks of different namespaces never share a key.

use crate::key::Key;
use crate::lock::AdvisoryLock;

impl AdvisoryLock {
    /// Puts the lock into a namespace: the pair (`namespace`, the lower 32 bits of its key) in
    /// PostgreSQL's key space of two `integer`s.
    ///
    /// Locks of different namespaces never share a key, and never share one with a lock on a
    /// `bigint`. So a library can keep its locks apart from those of its users, and
    /// `pg_locks.classid` shows the owner of a lock. Text given to [`new`](Self::new) becomes
    /// `(namespace, the first 4 bytes of its SHA-1, little-endian)`, which is frozen like all keys:
    ///
    /// ```
    /// use advisory_core::{AdvisoryLock, Key};
    ///
    /// assert_eq!(AdvisoryLock::new("foo").namespace(7).keys(), [Key::IntPair(7, -1245188597)]);
    /// assert_eq!(AdvisoryLock::new(42).namespace(7).keys(), [Key::IntPair(7, 42)]);
    /// ```
    ///
    /// It applies to the keys that the lock has:
    ///
    /// - a number of 32 bits is kept; two larger numbers that differ by a multiple of 2^32 become
    ///   one key;
    /// - of a pair, the second number is kept, and the namespace replaces the first;
    /// - of several locks, each is put into the namespace; keys that become equal are locked once.
    ///
    /// # Collisions
    ///
    /// A namespace has only 32 bits. With 9,292 names, the chance that any two of them share a key
    /// is 1 %, with 77,164 names 50 %; one more name shares the key of one of `n` others with a
    /// chance of `n` in 4,294,967,296. Two such names wait for each other needlessly, and code that
    /// takes both in two sessions, one after the other, waits for itself without end. Without a
    /// namespace there are 64 bits: 600 million names for a chance of 1 %.
    ///
    /// ```
    /// let chance = |names: f64| -(-names * (names - 1.0) / 2_f64.powi(33)).exp_m1();
    /// assert!(chance(9291.0) < 0.01 && chance(9292.0) >= 0.01);
    /// assert!(chance(77163.0) < 0.5 && chance(77164.0) >= 0.5);
    /// ```
    ///
    /// If not set, a lock keeps the key it was made with.
    #[must_use]
    pub fn namespace(self, namespace: i32) -> Self {
        let within = |key: &Key| {
            let (_, objid, _) = key.to_pg_locks();
            Key::IntPair(namespace, objid.cast_signed())
        };
        Self {
            id: self.id.map_keys(within),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lock::Mode;
    use crate::scheme;

    #[test]
    fn the_lower_half_stays() {
        let key = |lock: AdvisoryLock| lock.namespace(-1).keys().to_vec();
        assert_eq!(key((1, 7).into()), [Key::IntPair(-1, 7)]);
        assert_eq!(key((-7).into()), [Key::IntPair(-1, -7)]);
        assert_eq!(key((1_i64 << 32 | 5).into()), [Key::IntPair(-1, 5)]);
        let md5 = AdvisoryLock::with_scheme("foo", scheme::Md5);
        let Key::BigInt(whole) = md5.keys()[0] else {
            panic!("it is a number");
        };
        let lower = i32::try_from(whole << 32 >> 32).unwrap();
        assert_eq!(key(md5), [Key::IntPair(-1, lower)]);
    }

    #[test]
    fn the_rest_of_the_lock_stays() {
        let lock = AdvisoryLock::new("foo").shared().namespace(7);
        assert_eq!(lock.name(), Some("foo"));
        assert_eq!(lock.mode(), Mode::Shared);
        assert_eq!(lock.clone().namespace(8).namespace(7).keys(), lock.keys());
    }

    #[test]
    fn several_keys_stay_sorted_and_unique() {
        let lock = AdvisoryLock::all([1_i64 << 32, 5, -1, 0]).namespace(3);
        let keys = [-1, 0, 5].map(|key| Key::IntPair(3, key));
        assert_eq!(lock.keys(), keys);
        let one = AdvisoryLock::all([1_i64 << 32, 0]).namespace(3);
        assert_eq!(one.keys(), AdvisoryLock::new(0).namespace(3).keys());
        assert_eq!(AdvisoryLock::all([0_i32; 0]).namespace(3).keys(), []);
    }

    proptest! {
        #[test]
        fn what_is_in_one_namespace_is_in_no_other(names in prop::collection::vec(any::<String>(), 0..9), one: i32, other: i32) {
            let keys = |namespace| AdvisoryLock::all(&names).namespace(namespace).keys().to_vec();
            prop_assert!(keys(one).is_sorted_by(|one, next| one < next));
            prop_assert!(keys(one).iter().all(|key| matches!(key, Key::IntPair(first, _) if *first == one)));
            prop_assert_eq!(keys(one).iter().any(|key| keys(other).contains(key)), one == other && !names.is_empty());
            let each = names.iter().map(|name| AdvisoryLock::new(name).namespace(one));
            let all = AdvisoryLock::all(each);
            prop_assert_eq!(all.keys(), keys(one));
        }
    }
}
