//! What to lock and how long to wait for it: values, without I/O.

mod escaped;
mod id;
mod list;
mod namespace;
mod permits;
mod settings;
mod wait;

use std::fmt;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLockKey, PgPool};

pub(crate) use self::escaped::Escaped;
pub use self::id::{LockId, Mode};
use self::list::Names;
pub use self::settings::Isolation;
pub(crate) use self::settings::ScopedSetting;
pub(crate) use self::wait::{Wait, jitter};
use crate::key::Key;
use crate::scheme::KeyScheme;

/// *What* to lock and *how long to wait*; its methods that acquire say *where*.
///
/// It is a value: cheap to make and to clone, and it does nothing until one of these methods is
/// awaited:
///
/// | scope | waits, error if not acquired | reports instead |
/// |---|---|---|
/// | the caller's transaction | [`acquire_xact`](Self::acquire_xact) | [`try_acquire_xact`](Self::try_acquire_xact) |
/// | a new transaction | [`begin`](Self::begin) | [`try_begin`](Self::try_begin) |
/// | a new transaction around a closure | [`transaction`](Self::transaction) | [`try_transaction`](Self::try_transaction) |
/// | a session of its own | [`acquire(&pool)`](Self::acquire) | [`try_acquire(&pool)`](Self::try_acquire) |
/// | a session that holds many locks | [`acquire(&locks)`](Self::acquire) | [`try_acquire(&locks)`](Self::try_acquire), with a [`LockSession`](crate::LockSession) |
///
/// [`lead`](Self::lead) takes a session lock again and again, for leader election, and
/// [`every`](Self::every) runs a job once per period.
///
/// With the feature `sea-orm`, the first row takes sea-orm's `&DatabaseTransaction` as well, the
/// last but one its `DatabaseConnection`, and those between have methods of their own:
/// `begin_sea_orm`, `transaction_sea_orm` and their `try_` forms.
///
/// If no wait is set, the methods on the left wait as the server's own `lock_timeout` says, and
/// those on the right do not wait.
///
/// A setting that has no effect in a scope is an error
/// ([`Error::Unsupported`](crate::Error::Unsupported)), and nothing is sent:
///
/// | setting | scope |
/// |---|---|
/// | [`isolation`](Self::isolation) | a new transaction |
/// | [`cancel_via`](Self::cancel_via) | the caller's transaction; the attribute on a connection |
/// | [`keepalive_interval`](Self::keepalive_interval), [`at_least`](Self::at_least) | a session |
/// | [`tag_session`](Self::tag_session) | a session of its own, and not a [`LockSession`](crate::LockSession) |
///
/// ```no_run
/// use std::time::Duration;
///
/// use advisory_core::AdvisoryLock;
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), advisory_core::Error> {
/// let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_secs(2));
/// let tx = lock.begin(pool).await?;
/// // … the lock is held until the transaction ends …
/// tx.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AdvisoryLock {
    id: LockId,
    wait: Option<Wait>,
    polling: Option<Duration>,
    response_timeout: Option<Duration>,
    isolation: Option<Isolation>,
    cancel_via: Option<PgPool>,
    keepalive_interval: Option<Duration>,
    at_least: Option<Duration>,
    tag_session: bool,
    tag_statement: bool,
}

impl AdvisoryLock {
    /// A lock on one key: a name, a number, a pair of numbers, or anything else that converts into
    /// a [`Key`].
    ///
    /// Text is hashed with the default scheme, [`Sha1`](crate::scheme::Sha1), and kept as the
    /// [`name`](Self::name).
    ///
    /// ```
    /// use advisory_core::{AdvisoryLock, Key};
    ///
    /// assert_eq!(AdvisoryLock::new("foo").keys(), [Key::BigInt(-2661838577447997941)]);
    /// assert_eq!(AdvisoryLock::new(42).keys(), [Key::BigInt(42)]);
    /// assert_eq!(AdvisoryLock::new((1, 7)).keys(), [Key::IntPair(1, 7)]);
    /// ```
    pub fn new(lock: impl Into<Self>) -> Self {
        lock.into()
    }

    /// A lock on a name whose key is made by another scheme; see [`scheme`](crate::scheme).
    ///
    /// ```
    /// use advisory_core::{AdvisoryLock, Key, scheme};
    ///
    /// let lock = AdvisoryLock::with_scheme("foo", scheme::Crc32);
    /// assert_eq!(lock.keys(), [Key::BigInt(2356372769)]);
    /// assert_eq!(lock.name(), Some("foo"));
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "schemes are unit structs and closures: `scheme::Crc32` reads better"
    )]
    pub fn with_scheme(name: impl AsRef<str>, scheme: impl KeyScheme) -> Self {
        Self::named(name.as_ref(), scheme.key(name.as_ref()))
    }

    /// A lock on several keys at once: all of them, or none.
    ///
    /// The keys are sorted and duplicates dropped, so two callers that name the same keys in a
    /// different order do not deadlock. All keys are taken in one round trip. Modes, permits and
    /// settings of the items are ignored: set them on the result. A lock on no keys at all is
    /// granted at once.
    ///
    /// ```
    /// use advisory_core::AdvisoryLock;
    ///
    /// let there = AdvisoryLock::all(["account:1", "account:2"]);
    /// let back = AdvisoryLock::all(["account:2", "account:1", "account:2"]);
    /// assert_eq!(there.keys(), back.keys());
    /// ```
    pub fn all<T: Into<Self>>(locks: impl IntoIterator<Item = T>) -> Self {
        let mut keys = Vec::new();
        let mut names = Names::default();
        for lock in locks {
            let lock = lock.into();
            names.push(lock.id.name.as_ref());
            keys.extend_from_slice(lock.keys());
        }
        Self::from(LockId::new(keys, names.finish()))
    }

    /// Which lock it is, without how it is acquired.
    pub fn id(&self) -> &LockId {
        &self.id
    }

    /// The keys to lock, in the order in which they are taken: sorted, without duplicates.
    pub fn keys(&self) -> &[Key] {
        self.id.keys()
    }

    /// The name that the lock was made from; of several locks, their names, joined by commas.
    ///
    /// `None` if a key was given as a number. The name says what the lock is for in errors, spans
    /// and monitoring; only the [`keys`](Self::keys) reach the server.
    ///
    /// ```
    /// use advisory_core::AdvisoryLock;
    ///
    /// assert_eq!(AdvisoryLock::new("sync(4)").name(), Some("sync(4)"));
    /// assert_eq!(AdvisoryLock::all(["a", "b"]).name(), Some("a, b"));
    /// assert_eq!(AdvisoryLock::new(42).name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.id.name()
    }

    /// Whether the lock is exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.id.mode()
    }

    fn named(name: &str, key: Key) -> Self {
        Self::from(LockId::of_key(key, Some(name.into())))
    }
}

/// Writes the name in backticks, or the keys where there is no name.
impl fmt::Display for AdvisoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// The lock with default settings.
impl From<LockId> for AdvisoryLock {
    fn from(id: LockId) -> Self {
        Self {
            id,
            wait: None,
            polling: None,
            response_timeout: None,
            isolation: None,
            cancel_via: None,
            keepalive_interval: None,
            at_least: None,
            tag_session: false,
            tag_statement: false,
        }
    }
}

impl From<&LockId> for AdvisoryLock {
    fn from(id: &LockId) -> Self {
        id.clone().into()
    }
}

impl From<Key> for AdvisoryLock {
    fn from(key: Key) -> Self {
        LockId::of_key(key, None).into()
    }
}

macro_rules! from_number {
    ($($number:ty),+) => {$(
        impl From<$number> for AdvisoryLock {
            fn from(key: $number) -> Self {
                Key::from(key).into()
            }
        }
    )+};
}
from_number!(
    i64,
    i32,
    u32,
    (i32, i32),
    PgAdvisoryLockKey,
    &i64,
    &i32,
    &u32,
    &(i32, i32),
    &PgAdvisoryLockKey,
    &Key
);

macro_rules! from_text {
    ($($text:ty),+) => {$(
        impl From<$text> for AdvisoryLock {
            fn from(name: $text) -> Self {
                Self::named(&name, Key::from(&*name))
            }
        }
    )+};
}
from_text!(&str, &&str, String, &String);

/// The name is the hyphenated, lower-case text.
#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for AdvisoryLock {
    fn from(id: uuid::Uuid) -> Self {
        id.to_string().into()
    }
}

#[cfg(feature = "uuid")]
impl From<&uuid::Uuid> for AdvisoryLock {
    fn from(id: &uuid::Uuid) -> Self {
        id.to_string().into()
    }
}

impl From<&AdvisoryLock> for AdvisoryLock {
    fn from(lock: &AdvisoryLock) -> Self {
        lock.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scheme;

    #[test]
    fn several_keys_are_sorted_and_unique() {
        let lock = AdvisoryLock::all([
            Key::IntPair(0, 0),
            Key::BigInt(3),
            Key::BigInt(-3),
            Key::BigInt(3),
        ]);
        assert_eq!(
            lock.keys(),
            [Key::BigInt(-3), Key::BigInt(3), Key::IntPair(0, 0)]
        );
    }

    proptest! {
        /// Few different numbers, so that some of them occur twice.
        #[test]
        fn the_order_of_several_keys_does_not_matter(
            keys in prop::collection::vec(prop_oneof![(-3_i64..3).prop_map(Key::from), (-2..2, -2..2).prop_map(Key::from)], 0..24),
            turn in any::<prop::sample::Index>(),
        ) {
            let mut turned: Vec<_> = keys.iter().rev().copied().collect();
            turned.rotate_left(turn.index(keys.len().max(1)));
            let lock = AdvisoryLock::all(keys.iter().copied());
            prop_assert!(lock.keys().is_sorted_by(|one, next| one < next));
            prop_assert!(keys.iter().all(|key| lock.keys().contains(key)));
            prop_assert!(lock.keys().iter().all(|key| keys.contains(key)));
            let grouped = turned.chunks(3).map(|some| AdvisoryLock::all(some.iter().copied()));
            for other in [AdvisoryLock::all(turned.iter().copied()), AdvisoryLock::all(grouped)] {
                prop_assert_eq!(other.keys(), lock.keys());
            }
        }
    }

    #[test]
    fn one_key_named_twice_is_one_key() {
        let twice = AdvisoryLock::all([7, 7]);
        assert_eq!(twice.keys(), AdvisoryLock::new(7).keys());
    }

    #[test]
    fn a_name_is_kept_and_a_number_has_none() {
        assert_eq!(AdvisoryLock::new("a").name(), Some("a"));
        assert_eq!(AdvisoryLock::new("").name(), Some(""));
        assert_eq!(AdvisoryLock::new(7).name(), None);
        assert_eq!(AdvisoryLock::all(["a", "b"]).name(), Some("a, b"));
        assert_eq!(
            AdvisoryLock::all([AdvisoryLock::new("a"), 7.into()]).name(),
            None
        );
        assert_eq!(AdvisoryLock::all([0_i32; 0]).name(), None);
    }

    #[test]
    fn a_long_list_of_names_is_counted() {
        let lock = AdvisoryLock::all((0..100).map(|n| n.to_string()));
        assert_eq!(lock.name(), Some("0, 1, 2, 3, 4, 5, 6, 7 and 92 more"));
        assert_eq!(lock.keys().len(), 100);
    }

    #[test]
    fn a_lock_is_shown_by_its_name_or_by_its_keys() {
        assert_eq!(AdvisoryLock::new("sync(4)").to_string(), "`sync(4)`");
        assert_eq!(AdvisoryLock::new((1, 7)).to_string(), "(1, 7)");
        assert_eq!(AdvisoryLock::all([1, 2]).to_string(), "1, 2");
        assert_eq!(
            AdvisoryLock::all(0..100).to_string(),
            "0, 1, 2, 3, 4, 5, 6, 7 and 92 more"
        );
    }

    #[test]
    fn a_scheme_changes_the_key_and_keeps_the_name() {
        let lock = AdvisoryLock::with_scheme(String::from("foo"), scheme::Md5);
        assert_eq!(lock.keys(), [Key::BigInt(-5_999_611_798_422_882_212)]);
        assert_eq!(lock.name(), Some("foo"));
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_the_lock_of_its_text() {
        let id = uuid::Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        let lock = AdvisoryLock::new("67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(AdvisoryLock::all([&id]).id(), lock.id());
        assert_eq!(AdvisoryLock::new(id).id(), lock.id());
        assert_eq!(lock.keys(), [Key::from(id)]);
        assert_eq!(lock.keys(), [Key::BigInt(6_750_995_161_285_564_652)]);
    }

    #[test]
    fn a_wait_that_is_not_set_depends_on_the_verb() {
        let lock = AdvisoryLock::new(1);
        assert_eq!((lock.wait(), lock.try_wait()), (Wait::Server, Wait::No));
        let lock = lock.wait_forever();
        assert_eq!(
            (lock.wait(), lock.try_wait()),
            (Wait::Forever, Wait::Forever)
        );
    }
}
