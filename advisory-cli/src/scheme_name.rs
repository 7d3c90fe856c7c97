//! Schemes by their names, and the keys that they make from names.

use advisory_core::Key;
use advisory_core::scheme::{self, System};

use crate::exit::Failure;

/// The scheme of the library.
pub(crate) fn default_scheme() -> &'static System {
    scheme::systems()
        .find(|system| system.scheme == "Sha1")
        .expect("BUG: the library's own scheme is the first of the list")
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
