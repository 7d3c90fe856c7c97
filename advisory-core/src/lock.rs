use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLockKey, PgPool};

use crate::error::Holder;
use crate::name::{Listed, Names};
use crate::scheme::KeyScheme;
use crate::wait::Wait;
use crate::{Error, Isolation, Key, Mode};

/// *What* to lock and *how long to wait*; the verbs say *where*.
///
/// It is a value: cheap to make and to clone, and nothing happens until a verb is awaited.
///
/// | scope | waits, error if not acquired | reports instead |
/// |---|---|---|
/// | the caller's transaction | [`acquire_xact`](Self::acquire_xact) | [`try_acquire_xact`](Self::try_acquire_xact) |
/// | a new transaction | [`begin`](Self::begin) | [`try_begin`](Self::try_begin) |
/// | a new transaction around a closure | [`transaction`](Self::transaction) | [`try_transaction`](Self::try_transaction) |
/// | a session | [`acquire`](Self::acquire) | [`try_acquire`](Self::try_acquire) |
///
/// If no wait is set, the verbs on the left wait as the server's own `lock_timeout` says, and those on the right do not wait.
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
    keys: Keys,
    name: Option<Arc<str>>,
    pub(crate) mode: Mode,
    pub(crate) wait: Option<Wait>,
    pub(crate) polling: Option<Duration>,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) cancel_via: Option<PgPool>,
    pub(crate) probing: Duration,
    pub(crate) tag_session: bool,
}

/// How often a session that holds a lock is asked whether it is still there.
const PROBING: Duration = Duration::from_secs(5);

/// Sorted, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keys {
    One(Key),
    Several(Arc<[Key]>),
}

impl Keys {
    fn of(mut keys: Vec<Key>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        match keys[..] {
            [key] => Self::One(key),
            _ => Self::Several(keys.into()),
        }
    }
}

impl AdvisoryLock {
    /// A lock on one key: a name, a number, a pair of numbers, or anything else a [`Key`] comes from.
    ///
    /// Text is hashed with the default scheme, [`Sha1`](crate::scheme::Sha1), and kept as the [`name`](Self::name).
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

    /// A lock on a name whose key another scheme derives; see [`scheme`](crate::scheme).
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
    /// The keys are sorted and duplicates dropped, so two callers that name the same keys in a different order do not
    /// deadlock, and they are taken in one round trip. Modes and waits set on the items are not taken over: set them on
    /// the result. A lock on no keys at all is granted at once.
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
            names.push(lock.name.as_ref());
            keys.extend_from_slice(lock.keys());
        }
        Self {
            name: names.finish(),
            ..Self::on(Keys::of(keys))
        }
    }

    /// The keys to lock, in the order in which they are taken: sorted, without duplicates.
    pub fn keys(&self) -> &[Key] {
        match &self.keys {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }

    /// The name the lock was made from; of several locks, their names, joined by commas.
    ///
    /// `None` if a key was given as a number. It says what the lock is for in errors, spans and monitoring; only the
    /// [`keys`](Self::keys) reach the server.
    ///
    /// ```
    /// use advisory_core::AdvisoryLock;
    ///
    /// assert_eq!(AdvisoryLock::new("sync(4)").name(), Some("sync(4)"));
    /// assert_eq!(AdvisoryLock::all(["a", "b"]).name(), Some("a, b"));
    /// assert_eq!(AdvisoryLock::new(42).name(), None);
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn map_keys(self, f: impl Fn(&Key) -> Key) -> Self {
        let keys = Keys::of(self.keys().iter().map(f).collect());
        Self { keys, ..self }
    }

    /// Whether it is to be held alone.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The wait of a verb that waits.
    pub(crate) fn wait(&self) -> Wait {
        self.wait.unwrap_or(Wait::Server)
    }

    /// The wait of a verb that reports.
    pub(crate) fn try_wait(&self) -> Wait {
        self.wait.unwrap_or(Wait::No)
    }

    pub(crate) fn polling_interval(&self) -> Option<Duration> {
        self.polling
    }

    pub(crate) fn isolation_level(&self) -> Option<Isolation> {
        self.isolation
    }

    pub(crate) fn canceller(&self) -> Option<&PgPool> {
        self.cancel_via.as_ref()
    }

    /// What the session that holds it is to be called.
    pub(crate) fn session_name(&self) -> Option<&str> {
        self.name().filter(|_| self.tag_session)
    }

    pub(crate) fn probe_interval(&self) -> Duration {
        self.probing
    }

    /// The lock as an error keeps it: without a pool, which would live as long as the error.
    pub(crate) fn for_error(&self) -> Self {
        Self {
            cancel_via: None,
            ..self.clone()
        }
    }

    pub(crate) fn not_acquired(&self, waited: Duration, holders: Vec<Holder>) -> Error {
        let lock = Box::new(self.for_error());
        Error::NotAcquired {
            lock,
            waited,
            holders,
        }
    }

    pub(crate) fn loss(&self) -> Error {
        let lock = Box::new(self.for_error());
        Error::Lost { lock }
    }

    fn on(keys: Keys) -> Self {
        Self {
            keys,
            name: None,
            mode: Mode::Exclusive,
            wait: None,
            polling: None,
            isolation: None,
            cancel_via: None,
            probing: PROBING,
            tag_session: false,
        }
    }

    fn named(name: &str, key: Key) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::from(key)
        }
    }
}

/// Writes the name in backticks, or the keys where there is no name.
impl fmt::Display for AdvisoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.keys) {
            (Some(name), _) => write!(f, "`{name}`"),
            (None, Keys::One(key)) => write!(f, "{key}"),
            (None, Keys::Several(keys)) => {
                write!(
                    f,
                    "{}",
                    Listed {
                        items: keys,
                        total: keys.len()
                    }
                )
            }
        }
    }
}

impl From<Key> for AdvisoryLock {
    fn from(key: Key) -> Self {
        Self::on(Keys::One(key))
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
from_number!(i64, i32, u32, (i32, i32), PgAdvisoryLockKey);

macro_rules! from_text {
    ($($text:ty),+) => {$(
        impl From<$text> for AdvisoryLock {
            fn from(name: $text) -> Self {
                Self::named(&name, Key::from(&*name))
            }
        }
    )+};
}
from_text!(&str, String, &String);

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
        /// Few numbers, so that some come twice.
        #[test]
        fn the_order_of_several_does_not_matter(
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
    fn names_are_kept_numbers_have_none() {
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
    fn it_is_shown_by_name_or_else_by_key() {
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

    #[test]
    fn the_verbs_differ_in_the_wait_that_was_not_set() {
        let lock = AdvisoryLock::new(1);
        assert_eq!((lock.wait(), lock.try_wait()), (Wait::Server, Wait::No));
        let lock = lock.wait_forever();
        assert_eq!(
            (lock.wait(), lock.try_wait()),
            (Wait::Forever, Wait::Forever)
        );
    }
}
