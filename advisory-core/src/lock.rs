use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgAdvisoryLockKey, PgPool};

use crate::error::Holder;
use crate::name::{Listed, Names};
use crate::scheme::KeyScheme;
use crate::wait::Wait;
use crate::{Error, Key};

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
    mode: Mode,
    wait: Option<Wait>,
    polling: Option<Duration>,
    isolation: Option<Isolation>,
    cancel_via: Option<PgPool>,
    probing: Duration,
    tag_session: bool,
}

/// How often a session that holds a lock is asked whether it is still there.
const PROBING: Duration = Duration::from_secs(5);

/// The isolation level of a transaction that a verb opens; see [`AdvisoryLock::isolation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it began: PostgreSQL's default.
    ReadCommitted,
    /// The transaction sees what was committed before its first statement.
    RepeatableRead,
    /// As `RepeatableRead`, and as if transactions ran one after the other.
    Serializable,
}

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

/// Whom a holder keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Everybody (`ExclusiveLock` in `pg_locks`).
    Exclusive,
    /// Those who want it exclusively (`ShareLock`); see [`AdvisoryLock::shared`].
    Shared,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
        }
    }
}

/// Writes `exclusive` or `shared`.
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

    /// Shares the lock with other shared holders; only an exclusive holder keeps it out, and is kept out.
    ///
    /// If not set, the lock is exclusive. PostgreSQL's queue is fair: a shared lock waits behind an exclusive waiter that came
    /// first.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// // Readers share it; who rebuilds the catalogue takes it without `shared`.
    /// let tx = AdvisoryLock::new("catalogue").shared().begin(pool).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// Waits at most this long: one deadline for everything the call waits for, a pooled connection included.
    ///
    /// The server keeps the time, in whole milliseconds. `Duration::ZERO`, and anything below 1 ms, does not wait for the lock
    /// at all; anything above `i32::MAX` milliseconds (24 days) is [`wait_forever`](Self::wait_forever). A pool is given at
    /// least 100 ms to hand out a connection, since cutting that short would close it; and with a wait of zero, as long as its own
    /// `acquire_timeout`.
    ///
    /// If the server does not answer either, because the network or the server is gone, the call fails with [`Error::Database`]
    /// after the interval of [`probing`](Self::probing) more, or a second if that is shorter. A wait without an end has no such
    /// bound: it fails when the operating system gives the connection up.
    ///
    /// If not set, see the table above.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_millis(500));
    /// match lock.begin(pool).await {
    ///     Ok(tx) => tx.commit().await?,
    ///     Err(error) if error.is_not_acquired() => println!("{error}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wait = Some(Wait::at_most(timeout));
        self
    }

    /// Waits until the lock is granted, even if the server has a `lock_timeout`.
    ///
    /// If not set, see the table above.
    #[must_use]
    pub fn wait_forever(mut self) -> Self {
        self.wait = Some(Wait::Forever);
        self
    }

    /// Asks again and again instead of queueing, with a random pause of half to one and a half of this interval in between.
    ///
    /// A wait in the queue holds a snapshot, for which `CREATE INDEX CONCURRENTLY` and vacuum wait in turn; polling holds none, and
    /// a verb on a pool gives its connection back between two polls. In return there is no queue: who comes first is chance, and a
    /// lock that is hardly ever free may never be had. Without a timeout it polls for ever: the server's `lock_timeout` has no
    /// wait to end.
    ///
    /// If not set, the server queues.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("reindex").polling(Duration::from_millis(100));
    /// let guard = lock.timeout(Duration::from_secs(30)).acquire(pool).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn polling(mut self, interval: Duration) -> Self {
        self.polling = Some(interval);
        self
    }

    /// The isolation level of the transaction that [`begin`](Self::begin), [`transaction`](Self::transaction) and their `try_`
    /// forms open. Whatever the level, its first statement sees what the previous holder of the lock has committed.
    ///
    /// That is more than `BEGIN ISOLATION LEVEL REPEATABLE READ` followed by a lock: there the snapshot is taken first, then the
    /// wait begins, and what is read after it is what was there before. Here the lock is granted first. It costs one more round
    /// trip with `RepeatableRead` and `Serializable`.
    ///
    /// If not set, the level is the server's default, and the snapshot of a level other than `READ COMMITTED` is older than
    /// the lock. The other verbs join a transaction or need none, and leave this aside.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error, Isolation};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("report").isolation(Isolation::RepeatableRead);
    /// let tx = lock.begin(pool).await?;
    /// // … one snapshot, no older than the lock …
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// If a wait on the caller's transaction is dropped, cancels it on the server, from a connection of its own beside this pool
    /// (also when the pool is exhausted).
    ///
    /// The transaction is then aborted, as after any failed statement: the next thing done with it returns the error of the wait,
    /// and dropping it rolls back. Needs a tokio runtime where
    /// the wait is dropped, and the right to see and cancel the statements of the role that waits: the same role has it.
    ///
    /// If not set, such a wait stays in the queue until the lock is granted or its timeout is over. Counts for
    /// [`acquire_xact`](Self::acquire_xact) and [`try_acquire_xact`](Self::try_acquire_xact); the other verbs own their connection
    /// and close it.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut tx = pool.begin().await?;
    /// AdvisoryLock::new("sync(4)").cancel_via(pool).acquire_xact(&mut tx).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn cancel_via(mut self, pool: &PgPool) -> Self {
        self.cancel_via = Some(pool.clone());
        self
    }

    /// How often a [`SessionGuard`](crate::SessionGuard) that is watched asks the server for a sign of life.
    ///
    /// A connection that is closed is noticed at once and without asking. The probe is for a network that goes silent: after this
    /// interval without a word the server is asked, and given as long again to answer, or a second if that is shorter. It is a
    /// bare `Sync` message, which is no query and not seen as one. The interval is at least 100 ms and at most a day.
    ///
    /// A body that runs beside a transaction (the attribute on a pool without `tx`) is asked every 500 ms, which also finds out
    /// that its connection was closed; the answer may take as long as here. So may the answer to any message of a verb, besides its
    /// [`timeout`](Self::timeout), but for the commit: what has become of it nobody else can say.
    ///
    /// If not set, 5 seconds.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("leader").probing(Duration::from_secs(1));
    /// let guard = lock.acquire(pool).await?;
    /// guard.lost().await; // two seconds after the network went silent, at the latest
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn probing(mut self, interval: Duration) -> Self {
        self.probing = interval;
        self
    }

    /// Shows the lock's name in the `application_name` of the session that holds it, behind what the session is called otherwise:
    /// `billing advisory:sync(4)`.
    ///
    /// `pg_stat_activity` then tells what a session holds, and so do [`LockStatus::tag`](crate::monitor::LockStatus::tag) and
    /// `advisory ls`; without it there are only numbers, to which a name has to be guessed. PostgreSQL has room for 63 bytes of
    /// ASCII: other characters are percent-encoded, what is too long is cut, the session's own name first. It costs no round
    /// trip, and is undone with the release.
    ///
    /// Everybody who can connect to the server can read it, so a name should be no secret. Behind a pooler that shares sessions
    /// between clients, such as PgBouncer in session mode, the pooler may set another one.
    ///
    /// If not set, `application_name` is left alone. Counts for [`acquire`](Self::acquire), [`try_acquire`](Self::try_acquire) and
    /// the attribute with `scope = session`; a lock without a [`name`](Self::name) has nothing to show.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let guard = AdvisoryLock::new("nightly").tag_session().acquire(pool).await?;
    /// // `SELECT application_name FROM pg_stat_activity` says `billing advisory:nightly`.
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tag_session(mut self) -> Self {
        self.tag_session = true;
        self
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
