//! Which lock it is: its keys, its name and its mode.

use std::fmt;
use std::sync::Arc;

use super::escaped::Escaped;
use super::list::Listed;
use crate::key::Key;

/// Which lock it is: its keys, its name, its mode and its permits, without how it is acquired.
///
/// Errors and guards carry it. It is cheap to clone, can be compared, and converts into an
/// [`AdvisoryLock`](crate::AdvisoryLock) with default settings. It writes the name in backticks,
/// with control characters escaped, or the keys where there is no name.
///
/// ```
/// use advisory_core::AdvisoryLock;
///
/// let lock = AdvisoryLock::new("sync(4)").shared();
/// assert_eq!(lock.id().name(), Some("sync(4)"));
/// assert_eq!(lock.id().to_string(), "`sync(4)`");
/// assert_eq!(AdvisoryLock::from(lock.id()).id(), lock.id());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockId {
    keys: Keys,
    pub(super) name: Option<Arc<str>>,
    mode: Mode,
    pub(super) permits: u32,
}

/// Sorted, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Keys {
    One(Key),
    Several(Arc<[Key]>),
}

/// Which other holders a lock excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// All other holders (`ExclusiveLock` in `pg_locks`).
    Exclusive,
    /// Exclusive holders only (`ShareLock`); see
    /// [`AdvisoryLock::shared`](crate::AdvisoryLock::shared).
    Shared,
}

impl LockId {
    pub(super) fn new(keys: Vec<Key>, name: Option<Arc<str>>) -> Self {
        Self {
            keys: Keys::from(keys),
            name,
            mode: Mode::Exclusive,
            permits: 1,
        }
    }

    pub(super) fn of_key(key: Key, name: Option<Arc<str>>) -> Self {
        Self {
            keys: Keys::One(key),
            name,
            mode: Mode::Exclusive,
            permits: 1,
        }
    }

    pub(super) fn shared(self) -> Self {
        Self {
            mode: Mode::Shared,
            ..self
        }
    }

    /// What the server knows of it.
    pub(crate) fn without_name(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            name: None,
            mode: self.mode,
            permits: self.permits,
        }
    }

    /// Some keys of the lock.
    pub(crate) fn with_keys(&self, keys: Vec<Key>) -> Self {
        Self {
            keys: keys.into(),
            permits: 1,
            ..self.without_name()
        }
    }

    pub(super) fn map_keys(self, f: impl Fn(&Key) -> Key) -> Self {
        let keys: Vec<_> = self.keys().iter().map(f).collect();
        Self {
            keys: keys.into(),
            ..self
        }
    }

    /// The keys, in the order in which they are locked: sorted, without duplicates.
    pub fn keys(&self) -> &[Key] {
        match &self.keys {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }

    /// The name that the key was made from; of several locks, their names, joined by commas. `None`
    /// if a key was given as a number.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the lock is exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl From<Vec<Key>> for Keys {
    fn from(mut keys: Vec<Key>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        match keys[..] {
            [key] => Self::One(key),
            _ => Self::Several(keys.into()),
        }
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            return write!(f, "`{}`", Escaped(name));
        }
        let items = self.keys();
        let total = items.len();
        write!(f, "{}", Listed { items, total })
    }
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
