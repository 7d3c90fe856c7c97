//! How a name becomes a [`Key`].
//!
//! Two programs share a lock only if they turn its name into the same key, so each scheme here is
//! frozen: it always maps a name to the same key, on every machine, compiler and version of this
//! crate. Golden tests pin it.
//!
//! All take the UTF-8 bytes of the name, whole: names are case-sensitive, and the empty name is a
//! name like any other.
//!
//! # Other systems
//!
//! With the feature `interop` there is a scheme for each system whose locks one may have to share:
//! `DjangoPglock`, `WithAdvisoryLock`, `DistributedLock` for .NET and many more, all listed by
//! `systems()`. Each says which key space it uses and what is odd about it. `docs/INTEROP.md` has a
//! recipe for each, and the module `known` the keys that migration tools take.
//!
//! # Collisions
//!
//! Two names with the same key are one lock. From so many names on, the chance that any two of them
//! meet is 1 %, by the bits of their keys:
//!
//! | bits | names | for example |
//! |---|--:|---|
//! | 64 | 608,926,882 | [`Sha1`], [`Md5`], [`Sha256`] |
//! | 63 | 430,576,328 | a hash without its sign |
//! | 32 | 9,292 | [`Crc32`], `hashtext`, [`AdvisoryLock::namespace`](crate::AdvisoryLock::namespace) |
//! | 31 | 6,571 | with_advisory_lock |
//!
//! ```
//! /// The birthday problem: the chance that any two of so many names have the same key.
//! fn chance(names: f64, bits: i32) -> f64 {
//!     -(-names * (names - 1.0) / 2_f64.powi(bits + 1)).exp_m1()
//! }
//!
//! for (bits, names) in [(64, 608926882.0), (63, 430576328.0), (32, 9292.0), (31, 6571.0)] {
//!     assert!(chance(names - 1.0, bits) < 0.01 && chance(names, bits) >= 0.01);
//! }
//! ```

mod builtin;
mod digest;
mod dotnet;
mod entry;
mod go;
mod javascript;
mod php;
mod python;
mod ruby;
mod rust;
mod server;

#[cfg(feature = "interop")]
mod distributed_lock;
#[cfg(feature = "interop")]
mod fnv;
#[cfg(feature = "interop")]
mod hashtext;
#[cfg(feature = "interop")]
mod system;
#[cfg(feature = "interop")]
mod to_i;

pub use schemes::*;
#[cfg(feature = "interop")]
pub use system::{Space, System};

#[cfg(any(feature = "interop", feature = "migrate"))]
pub(crate) use digest::sqlx_migrate;
#[cfg(feature = "interop")]
pub(crate) use digest::{big_endian, crc32};

use crate::key::Key;

/// The schemes without the rest.
pub(crate) mod schemes {
    pub use super::builtin::{Crc32, Md5, Sha1, Sha256};
    pub use super::dotnet::*;
    pub use super::go::*;
    pub use super::javascript::*;
    pub use super::php::*;
    pub use super::python::*;
    pub use super::ruby::*;
    pub use super::rust::*;
    pub use super::server::*;
}

/// Turns a name into a [`Key`].
///
/// Every `Fn(&str) -> K` with `K: Into<Key>` is one:
///
/// ```
/// use advisory_core::{AdvisoryLock, Key};
///
/// let by_length = |name: &str| (7, i32::try_from(name.len()).unwrap_or(i32::MAX));
/// let lock = AdvisoryLock::with_scheme("sync", by_length);
/// assert_eq!(lock.keys(), [Key::IntPair(7, 4)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no scheme",
    label = "expected a `KeyScheme`, or a function from `&str` to a key",
    note = "the schemes of other systems, such as `DjangoPglock`, need the feature `interop` of `advisory-core`"
)]
pub trait KeyScheme {
    /// The key of `name`.
    ///
    /// ```
    /// use advisory_core::{Key, KeyScheme, scheme};
    ///
    /// /// What another service of ours has always done.
    /// struct Legacy;
    ///
    /// impl KeyScheme for Legacy {
    ///     fn key(&self, name: &str) -> Key {
    ///         scheme::Crc32.key(&name.to_lowercase())
    ///     }
    /// }
    ///
    /// assert_eq!(Legacy.key("Nightly"), Legacy.key("nightly"));
    /// ```
    fn key(&self, name: &str) -> Key;
}

impl<F, K> KeyScheme for F
where
    F: Fn(&str) -> K,
    K: Into<Key>,
{
    fn key(&self, name: &str) -> Key {
        self(name).into()
    }
}

macro_rules! from_text {
    ($($text:ty),+) => {$(
        /// Hashes the text with [`Sha1`].
        impl From<$text> for Key {
            fn from(name: $text) -> Self {
                Sha1.key(&name)
            }
        }
    )+};
}
from_text!(&str, &&str, String, &String);

/// Hashes the hyphenated, lower-case text with [`Sha1`], as `key = "{id}"` does.
///
/// ```
/// use advisory_core::Key;
/// use uuid::Uuid;
///
/// let id = Uuid::from_u128(0x67e55044_10b1_426f_9247_bb680e5fe0c8);
/// assert_eq!(Key::from(id), Key::from("67e55044-10b1-426f-9247-bb680e5fe0c8"));
/// ```
#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for Key {
    fn from(id: uuid::Uuid) -> Self {
        Self::from(&id)
    }
}

#[cfg(feature = "uuid")]
impl From<&uuid::Uuid> for Key {
    fn from(id: &uuid::Uuid) -> Self {
        Sha1.key(&id.to_string())
    }
}

/// Every system there is a scheme for, those without a feature first.
///
/// ```
/// use advisory_core::scheme;
///
/// for system in scheme::systems() {
///     if let Some(key) = system.key("sync(4)") {
///         println!("{:>24}  {key}", system.label);
///     }
/// }
/// ```
#[cfg(feature = "interop")]
pub fn systems() -> impl Iterator<Item = &'static System> {
    [
        builtin::SYSTEMS,
        python::SYSTEMS,
        ruby::SYSTEMS,
        dotnet::SYSTEMS,
        javascript::SYSTEMS,
        php::SYSTEMS,
        go::SYSTEMS,
        rust::SYSTEMS,
        server::SYSTEMS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "interop")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_closure_is_a_scheme() {
        let scheme = |name: &str| (1, i32::from(name.is_empty()));
        assert_eq!(scheme.key(""), Key::IntPair(1, 1));
        let through = |name: &str| Md5.key(name);
        assert_eq!(through.key("foo"), Md5.key("foo"));
    }

    #[cfg(feature = "interop")]
    #[test]
    fn every_entry_is_as_it_says() {
        let mut schemes = std::collections::BTreeSet::new();
        for system in systems() {
            assert_eq!(system.key("foo"), Some(system.foo), "{}", system.label);
            let is_pair = matches!(system.foo, Key::IntPair(..));
            match system.space {
                Space::BigInt => assert!(!is_pair, "{}", system.label),
                Space::IntPair => assert!(is_pair, "{}", system.label),
                Space::Either => {}
            }
            assert!(schemes.insert(system.scheme), "{} twice", system.scheme);
            assert!(!system.algorithm.is_empty() && !system.source.is_empty());
        }
    }

    #[cfg(feature = "interop")]
    proptest! {
        #[test]
        fn every_scheme_takes_any_name(name in any::<String>(), plain in "[a-z0-9:()./ _-]{0,80}") {
            for (system, name) in systems().flat_map(|system| [(system, &name), (system, &plain)]) {
                let key = KeyScheme::key(&system, name);
                prop_assert_eq!(key, KeyScheme::key(&system, &name.clone()), "{}", system.label);
                prop_assert!(system.key(name).is_none_or(|given| given == key), "{}", system.label);
                let is_pair = matches!(key, Key::IntPair(..));
                prop_assert!(is_pair || system.space != Space::IntPair, "{}", system.label);
                prop_assert!(!is_pair || system.space != Space::BigInt, "{}", system.label);
            }
        }
    }
}
