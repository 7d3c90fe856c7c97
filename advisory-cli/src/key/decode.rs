//! What is known of a key.

use std::fmt;

use advisory_core::Key;
use advisory_core::scheme::{self, Space, System};
use serde::Serialize;

use super::database::Database;
use super::forms::KeyForms;
use crate::logged_key::LoggedKey;
use crate::names::{Names, tool_name};

#[derive(Serialize)]
pub(super) struct Decoded {
    #[serde(flatten)]
    key: KeyForms,
    /// The name from the names file.
    name: Option<String>,
    /// The scheme that makes the key from the name.
    scheme: Option<&'static str>,
    /// The known tool that uses the key.
    tool: Option<String>,
    /// The database in which the key was seen.
    database: Option<String>,
    database_oid: Option<u32>,
    /// The bytes of the key, if they are printable ASCII.
    ascii: Option<String>,
    /// The schemes that make keys of this kind.
    schemes: Vec<&'static str>,
    is_small: bool,
}

pub(super) fn decode(logged: LoggedKey, database: Database, names: &mut Names) -> Decoded {
    let key = logged.key;
    let name = names.of_key(key);
    let schemes = scheme::systems().filter(|system| can_make(system, key));
    Decoded {
        key: key.into(),
        name: name.map(|name| name.text.clone()),
        scheme: name.and_then(|name| name.scheme),
        tool: tool_name(key, database.name.as_deref()).map(|name| name.text),
        database_oid: database.oid,
        database: database.name,
        ascii: ascii(key),
        schemes: schemes.map(|system| system.scheme).collect(),
        is_small: is_small(key),
    }
}

/// Whether a person may have chosen the number.
fn is_small(key: Key) -> bool {
    const SMALL: u64 = 1_000_000;
    match key {
        Key::BigInt(key) => key.unsigned_abs() <= SMALL,
        Key::IntPair(first, second) => [first, second]
            .iter()
            .any(|half| u64::from(half.unsigned_abs()) <= SMALL),
    }
}

/// Whether a scheme makes keys of this kind.
fn can_make(system: &System, key: Key) -> bool {
    match key {
        Key::BigInt(key) => {
            let is_short = u32::try_from(key).is_ok() || i32::try_from(key).is_ok();
            system.space != Space::IntPair && (system.bits <= 32) == is_short
        }
        Key::IntPair(..) => system.space != Space::BigInt,
    }
}

/// The bytes of the key as text, if they are printable ASCII.
fn ascii(key: Key) -> Option<String> {
    let (first, second, _) = key.to_pg_locks();
    let bytes = [first.to_be_bytes(), second.to_be_bytes()].concat();
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_matches('\0');
    let is_text = text.len() >= 4 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    is_text.then(|| text.to_owned())
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms = &self.key;
        let (classid, objid, objsubid) = (forms.classid, forms.objid, forms.objsubid);
        let columns = format!("classid {classid}, objid {objid}, objsubid {objsubid}");
        let name = self.name.as_ref().map(|name| match self.scheme {
            Some(scheme) => format!("{name}, by {scheme}"),
            None => name.clone(),
        });
        let database = match (&self.database, self.database_oid) {
            (Some(name), Some(oid)) => Some(format!("{name}, whose oid is {oid}")),
            (None, Some(oid)) => Some(format!("the one whose oid is {oid}")),
            (name, None) => name.clone(),
        };
        let small = "a number that a person has chosen".to_owned();
        write!(f, "{}", forms.key)?;
        for (label, text) in [
            ("bits", Some(forms.hex.clone())),
            ("pg_locks", Some(columns)),
            ("database", database),
            ("name", name),
            ("tool", self.tool.clone()),
            ("as text", self.ascii.clone()),
            ("perhaps", self.is_small.then_some(small)),
            ("fits", Some(self.schemes.join(", "))),
        ] {
            if let Some(text) = text {
                write!(f, "\n  {label:<10}{text}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scheme_name::hash_by_all;

    #[test]
    fn a_key_of_ascii_bytes_is_shown_as_text() {
        let flyway = Key::BigInt(0x466c_7977_6179);
        assert_eq!(ascii(flyway).as_deref(), Some("Flyway"));
        assert_eq!(ascii(Key::BigInt(42)), None);
        assert_eq!(ascii(Key::from("foo")), None);
    }

    proptest! {
        #[test]
        fn a_scheme_can_make_the_key_of_any_name(
            name in any::<String>(),
            plain in "[a-zA-Z0-9:. ]{0,20}",
        ) {
            for name in [&name, &plain] {
                for (system, key) in hash_by_all(name) {
                    prop_assert!(can_make(system, key), "{} of {name:?}", system.scheme);
                }
            }
        }
    }
}
