//! What PostgreSQL locks.

mod parse;
mod slot;

use std::fmt;

use sqlx::postgres::PgAdvisoryLockKey;

pub use self::parse::ParseKeyError;
pub(crate) use self::slot::MOST_SLOTS;

/// What PostgreSQL locks: one number of 64 bits, or two numbers of 32 bits.
///
/// The two forms are separate key spaces: `Key::BigInt(7)` and `Key::IntPair(0, 7)` are different
/// locks. Keys belong to one database: the same key in another database is another lock.
///
/// Text becomes a key by the default scheme, [`Sha1`](crate::scheme::Sha1). That mapping is frozen:
/// a name has the same key on every machine and compiler, and in every version of this crate. Text
/// that *is* a key, such as `"-42"` or `"(1, 7)"`, is read by [`Key::parse`].
///
/// ```
/// use advisory_core::Key;
///
/// assert_eq!(Key::from("foo"), Key::BigInt(-2661838577447997941));
/// assert_eq!(Key::from((1, 7)), Key::IntPair(1, 7));
/// assert_eq!(Key::parse("(1, 7)"), Ok(Key::IntPair(1, 7)));
/// assert_eq!(format!("{:x}", Key::BigInt(-2)), "0xfffffffffffffffe");
/// ```
///
/// Keys are ordered: all of the first space, then all of the second. This is the order in which
/// [`AdvisoryLock::all`](crate::AdvisoryLock::all) takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One `bigint`, as in `pg_advisory_lock(bigint)`.
    BigInt(i64),
    /// Two `integer`s, as in `pg_advisory_lock(integer, integer)`.
    IntPair(i32, i32),
}

/// `pg_locks.objsubid` of a lock on one `bigint`.
const BIGINT_OBJSUBID: i16 = 1;
/// `pg_locks.objsubid` of a lock on two `integer`s.
const INT_PAIR_OBJSUBID: i16 = 2;

impl Key {
    /// The columns `classid`, `objid` and `objsubid` of [`pg_locks`] for this key.
    ///
    /// The first two are of type `oid`, which is unsigned, for negative keys too.
    ///
    /// ```
    /// use advisory_core::Key;
    ///
    /// assert_eq!(Key::BigInt(-1).to_pg_locks(), (u32::MAX, u32::MAX, 1));
    /// assert_eq!(Key::IntPair(1, 7).to_pg_locks(), (1, 7, 2));
    /// ```
    ///
    /// [`pg_locks`]: https://www.postgresql.org/docs/current/view-pg-locks.html
    pub fn to_pg_locks(self) -> (u32, u32, i16) {
        match self {
            Self::BigInt(key) => {
                let bits = key.cast_unsigned();
                #[expect(clippy::cast_possible_truncation, reason = "each half on its own")]
                let (high, low) = ((bits >> 32) as u32, bits as u32);
                (high, low, BIGINT_OBJSUBID)
            }
            Self::IntPair(first, second) => (
                first.cast_unsigned(),
                second.cast_unsigned(),
                INT_PAIR_OBJSUBID,
            ),
        }
    }

    /// The key that [`pg_locks`] shows in these columns.
    ///
    /// `None` if `objsubid` is neither 1 nor 2, which are those of PostgreSQL's own functions. Some
    /// extensions take advisory locks with other values.
    ///
    /// ```
    /// use advisory_core::Key;
    ///
    /// assert_eq!(Key::from_pg_locks(u32::MAX, u32::MAX, 1), Some(Key::BigInt(-1)));
    /// assert_eq!(Key::from_pg_locks(1, 7, 2), Some(Key::IntPair(1, 7)));
    /// assert_eq!(Key::from_pg_locks(1, 7, 0), None);
    /// ```
    ///
    /// [`pg_locks`]: https://www.postgresql.org/docs/current/view-pg-locks.html
    pub fn from_pg_locks(classid: u32, objid: u32, objsubid: i16) -> Option<Self> {
        match objsubid {
            BIGINT_OBJSUBID => {
                let bits = u64::from(classid) << 32 | u64::from(objid);
                Some(Self::BigInt(bits.cast_signed()))
            }
            INT_PAIR_OBJSUBID => Some(Self::IntPair(classid.cast_signed(), objid.cast_signed())),
            _ => None,
        }
    }
}

/// Writes `42` or `(1, 7)`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BigInt(key) => write!(f, "{key}"),
            Self::IntPair(first, second) => write!(f, "({first}, {second})"),
        }
    }
}

/// Writes the bits of the key: `0x000000000000002a` or `(0x00000001, 0x00000007)`.
impl fmt::LowerHex for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BigInt(key) => write!(f, "{key:#018x}"),
            Self::IntPair(first, second) => write!(f, "({first:#010x}, {second:#010x})"),
        }
    }
}

macro_rules! from_number {
    ($($number:ty: $key:pat => $made:expr),+ $(,)?) => {$(
        impl From<$number> for Key {
            fn from($key: $number) -> Self {
                $made
            }
        }

        impl From<&$number> for Key {
            fn from(key: &$number) -> Self {
                Self::from(*key)
            }
        }
    )+};
}
from_number! {
    i64: key => Self::BigInt(key),
    i32: key => Self::BigInt(key.into()),
    u32: key => Self::BigInt(key.into()),
    (i32, i32): (first, second) => Self::IntPair(first, second),
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        *key
    }
}

impl From<PgAdvisoryLockKey> for Key {
    fn from(key: PgAdvisoryLockKey) -> Self {
        match key {
            PgAdvisoryLockKey::BigInt(key) => Self::BigInt(key),
            PgAdvisoryLockKey::IntPair(first, second) => Self::IntPair(first, second),
            // sqlx's enum is non-exhaustive, but PostgreSQL has had these two key spaces since 8.2.
            _ => unreachable!("BUG: a third key space"),
        }
    }
}

impl From<&PgAdvisoryLockKey> for Key {
    fn from(key: &PgAdvisoryLockKey) -> Self {
        key.clone().into()
    }
}

impl From<Key> for PgAdvisoryLockKey {
    fn from(key: Key) -> Self {
        match key {
            Key::BigInt(key) => Self::BigInt(key),
            Key::IntPair(first, second) => Self::IntPair(first, second),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_key_survives_the_way_through_pg_locks() {
        let edges = [i64::MIN, -1, 0, 1, i64::MAX, -2_661_838_577_447_997_941];
        let pairs = [i32::MIN, -1, 0, 1, i32::MAX];
        let bigints = edges.into_iter().map(Key::BigInt);
        let int_pairs = pairs
            .into_iter()
            .flat_map(|a| pairs.into_iter().map(move |b| Key::IntPair(a, b)));
        for key in bigints.chain(int_pairs) {
            let (classid, objid, objsubid) = key.to_pg_locks();
            assert_eq!(Key::from_pg_locks(classid, objid, objsubid), Some(key));
        }
    }

    #[test]
    fn negative_keys_have_unsigned_columns() {
        assert_eq!(Key::BigInt(-2).to_pg_locks(), (u32::MAX, u32::MAX - 1, 1));
        assert_eq!(
            Key::IntPair(-1, i32::MIN).to_pg_locks(),
            (u32::MAX, 1 << 31, 2)
        );
    }

    #[test]
    fn the_spaces_of_one_and_of_two_numbers_never_meet() {
        assert_ne!(
            Key::BigInt(7).to_pg_locks(),
            Key::IntPair(0, 7).to_pg_locks()
        );
        assert_eq!(Key::from_pg_locks(0, 7, 3), None);
        assert_eq!(Key::from_pg_locks(0, 7, -1), None);
    }

    #[test]
    fn an_unsigned_int_is_not_sign_extended() {
        assert_eq!(Key::from(u32::MAX), Key::BigInt(4_294_967_295));
        assert_eq!(Key::from(-1_i32), Key::BigInt(-1));
    }

    #[test]
    fn sqlx_keys_convert_both_ways() {
        for key in [Key::BigInt(-7), Key::IntPair(1, -2)] {
            assert_eq!(Key::from(PgAdvisoryLockKey::from(key)), key);
        }
    }

    proptest! {
        #[test]
        fn keys_and_columns_are_two_writings_of_one(big in any::<i64>(), pair in any::<(i32, i32)>()) {
            for key in [Key::from(big), Key::from(pair)] {
                let (classid, objid, objsubid) = key.to_pg_locks();
                prop_assert_eq!(Key::from_pg_locks(classid, objid, objsubid), Some(key));
            }
        }

        #[test]
        fn any_columns_are_those_of_their_key(classid in any::<u32>(), objid in any::<u32>(), objsubid in any::<i16>()) {
            for objsubid in [1, 2, objsubid] {
                let key = Key::from_pg_locks(classid, objid, objsubid);
                prop_assert_eq!(key.is_some(), objsubid == 1 || objsubid == 2);
                prop_assert!(key.is_none_or(|key| key.to_pg_locks() == (classid, objid, objsubid)));
            }
        }
    }
}
