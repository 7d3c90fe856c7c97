//! The lock that a command is about: a name and the scheme that hashes it, or a key.

use advisory_core::scheme::{self, System};
use advisory_core::{AdvisoryLock, Key};
use clap::Args;

use crate::exit::Failure;

/// A lock, by its name or by its key.
#[derive(Args, Clone)]
pub(crate) struct Target {
    /// The name of the lock, which the scheme hashes.
    #[arg(allow_negative_numbers = true)]
    pub(crate) name: String,
    /// The scheme that hashes the name: that of the library or of another system, by its own name
    /// or by the system's, such as `DjangoPglock` or `django-pglock`; `advisory key NAME` lists
    /// all.
    #[arg(long, value_name = "SCHEME", value_parser = parse_scheme, default_value = "Sha1", conflicts_with = "key")]
    pub(crate) key_scheme: &'static System,
    /// NAME is the key itself: `42`, `-42`, `0x1f` or `1,7`.
    #[arg(long, short)]
    pub(crate) key: bool,
}

impl Target {
    pub(crate) fn lock(&self) -> Result<AdvisoryLock, Failure> {
        if self.key {
            return parse_key(&self.name)
                .map(AdvisoryLock::new)
                .map_err(Failure::usage);
        }
        hash(self.key_scheme, &self.name)?;
        Ok(AdvisoryLock::with_scheme(&*self.name, self.key_scheme))
    }
}

/// Parses a key: `-42`, `0x1f`, `(1, 7)`.
pub(crate) fn parse_key(text: &str) -> Result<Key, String> {
    Key::parse(text).map_err(|error| error.to_string())
}

/// Finds a scheme by its own name or by that of its system, in any spelling: `DjangoPglock`,
/// `django-pglock`.
pub(crate) fn parse_scheme(text: &str) -> Result<&'static System, String> {
    let wanted = letters(text);
    let found = scheme::systems()
        .find(|system| letters(system.scheme) == wanted || letters(system.label) == wanted);
    found.ok_or_else(|| {
        let names: Vec<_> = scheme::systems().map(|system| system.scheme).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn letters(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// The key of a name by one scheme, unless the scheme's system refuses the name.
pub(crate) fn hash(system: &'static System, name: &str) -> Result<Key, Failure> {
    system.key(name).ok_or_else(|| {
        let (label, caveat) = (system.label, system.caveat);
        Failure::usage(format!(
            "{label} does not take the name `{name}`: it {caveat}"
        ))
    })
}

/// The key of a name by every scheme whose system takes the name.
pub(crate) fn hash_by_all(name: &str) -> impl Iterator<Item = (&'static System, Key)> {
    scheme::systems().filter_map(move |system| Some((system, system.key(name)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_scheme_is_found_by_its_name_and_by_its_systems_name(
            text in any::<String>(),
            separator in "[ _-]{0,3}",
        ) {
            if let Err(error) = parse_scheme(&text) {
                prop_assert!(error.starts_with("expected one of Sha1, "), "{error}");
            }
            for system in scheme::systems() {
                let label = system.label.replace(['-', ' '], &separator);
                for spelling in [&*label, system.scheme, &system.scheme.to_uppercase()] {
                    let found = parse_scheme(spelling).map(|found| found.scheme);
                    prop_assert_eq!(found, Ok(system.scheme));
                }
            }
        }
    }
}
