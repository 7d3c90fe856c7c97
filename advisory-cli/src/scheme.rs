//! The schemes of `--key-scheme`.

use advisory_core::Key;
use advisory_core::scheme::{self, System};

use crate::exit::{Code, Failure};

/// Finds a scheme by its own name or by that of its system, in any spelling: `DjangoPglock`, `django-pglock`.
pub(crate) fn parse(text: &str) -> Result<&'static System, String> {
    let wanted = letters(text);
    let found = scheme::systems().find(|system| {
        [system.scheme, system.label]
            .iter()
            .any(|name| letters(name) == wanted)
    });
    found.ok_or_else(|| {
        let names: Vec<_> = scheme::systems().map(|system| system.scheme).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// The key of a name, which the system of the scheme may refuse.
pub(crate) fn key(system: &'static System, name: &str) -> Result<Key, Failure> {
    system.key(name).ok_or_else(|| {
        let (label, caveat) = (system.label, system.caveat);
        Failure::new(
            Code::Usage,
            format!("{label} does not take the name `{name}`: it {caveat}"),
        )
    })
}

fn letters(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scheme_goes_by_its_own_name_and_by_its_systems() {
        for text in [
            "DjangoPglock",
            "django-pglock",
            "django_pglock",
            "DJANGOPGLOCK",
        ] {
            assert_eq!(parse(text).unwrap().scheme, "DjangoPglock", "{text}");
        }
    }

    #[test]
    fn no_two_schemes_share_a_spelling() {
        for system in scheme::systems() {
            assert_eq!(parse(system.scheme).unwrap().scheme, system.scheme);
            assert_eq!(parse(system.label).unwrap().scheme, system.scheme);
        }
    }

    #[test]
    fn an_unknown_scheme_brings_the_list() {
        let error = parse("sha3").unwrap_err();
        assert!(error.starts_with("expected one of Sha1, "), "{error}");
        assert!(error.contains("DjangoPglock"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_scheme_or_brings_the_list(text in any::<String>(), spaced in "[ _-]{0,3}") {
            prop_assert!(parse(&text).is_ok_and(|system| !system.scheme.is_empty()) || parse(&text).unwrap_err().contains("Sha1"));
            for system in scheme::systems() {
                let written = system.label.replace(['-', ' '], &spaced);
                prop_assert_eq!(parse(&written).map(|found| found.scheme), Ok(system.scheme));
            }
        }
    }
}
