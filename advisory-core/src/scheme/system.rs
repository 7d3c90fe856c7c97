//! What lists and commands say about a scheme.

use std::fmt;

use super::entry::space;
use crate::key::Key;
use crate::scheme::KeyScheme;

/// A system whose locks can be shared, and the scheme that makes its keys.
///
/// ```
/// use advisory_core::{Key, scheme};
///
/// let pglock = scheme::systems().find(|system| system.label == "django-pglock").unwrap();
/// assert_eq!(pglock.scheme, "DjangoPglock");
/// assert_eq!(pglock.key("foo"), Some(Key::BigInt(-8086495256948496852)));
/// assert_eq!(pglock.key(""), None); // django-pglock refuses it
/// ```
#[non_exhaustive]
pub struct System {
    /// The scheme's name in [`scheme`](crate::scheme), as in `scheme = DjangoPglock`.
    pub scheme: &'static str,
    /// The name the system goes by.
    pub label: &'static str,
    /// The language or server it belongs to.
    pub ecosystem: &'static str,
    /// Where its keys are.
    pub space: Space,
    /// How many bits of its keys tell two names apart.
    pub bits: u32,
    /// From the name's UTF-8 to the key.
    pub algorithm: &'static str,
    /// The project, version and file that define it.
    pub source: &'static str,
    /// What is odd about it; empty if nothing is.
    pub caveat: &'static str,
    /// The key of `foo`, as the table has it.
    #[cfg(test)]
    pub(super) foo: Key,
    pub(super) derive: fn(&str) -> Key,
    pub(super) accepts: fn(&str) -> bool,
}

impl System {
    /// The key that the system gives to `name`; `None` if it refuses the name.
    pub fn key(&self, name: &str) -> Option<Key> {
        (self.accepts)(name).then(|| (self.derive)(name))
    }
}

/// As its scheme: the key of a name that the system refuses is what the algorithm makes of it.
impl KeyScheme for &System {
    fn key(&self, name: &str) -> Key {
        (self.derive)(name)
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("scheme", &self.scheme)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Which of PostgreSQL's two key spaces a system uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Space {
    /// One `bigint`.
    BigInt,
    /// Two `integer`s.
    IntPair,
    /// The name decides.
    Either,
}

/// Writes PostgreSQL's types.
impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BigInt => space!(BigInt),
            Self::IntPair => space!(IntPair),
            Self::Either => space!(Either),
        })
    }
}
