//! What is known of a key.

use std::fmt;

use advisory_core::Key;
use advisory_core::scheme::{self, Space, System};
use serde::Serialize;

use super::forms::KeyForms;
use crate::exit::Failure;
use crate::names::{Names, tool_name};
use crate::target::parse_key;

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
    /// The bytes of the key, if they are printable ASCII.
    ascii: Option<String>,
    /// The schemes that make keys of this kind.
    schemes: Vec<&'static str>,
    is_small: bool,
}

pub(super) fn decode(
    text: &str,
    database: Option<&str>,
    names: &mut Names,
) -> Result<Decoded, Failure> {
    let key = parse(text).map_err(Failure::usage)?;
    let name = names.of_key(key);
    let schemes = scheme::systems().filter(|system| can_make(system, key));
    Ok(Decoded {
        key: key.into(),
        name: name.map(|name| name.text.clone()),
        scheme: name.and_then(|name| name.scheme),
        tool: tool_name(key, database).map(|name| name.text),
        ascii: ascii(key),
        schemes: schemes.map(|system| system.scheme).collect(),
        is_small: is_small(key),
    })
}

/// Parses a key, or the columns of `pg_locks`, separated by commas.
fn parse(text: &str) -> Result<Key, String> {
    let columns: Vec<_> = text.split(',').map(str::trim).collect();
    let &[classid, objid, objsubid] = &columns[..] else {
        return parse_key(text)
            .map_err(|error| format!("{error}; `advisory key NAME` shows the keys of a name"));
    };
    let (classid, objid, objsubid) = (classid.parse(), objid.parse(), objsubid.parse());
    let key = match (classid, objid, objsubid) {
        (Ok(classid), Ok(objid), Ok(objsubid)) => Key::from_pg_locks(classid, objid, objsubid),
        _ => None,
    };
    key.ok_or_else(|| {
        let expected = "expected `classid,objid,objsubid` as in `pg_locks`, the last one 1 or 2";
        format!("{expected}, found `{text}`")
    })
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
        let small = "a number that a person has chosen".to_owned();
        write!(f, "{}", forms.key)?;
        for (label, text) in [
            ("bits", Some(forms.hex.clone())),
            ("pg_locks", Some(columns)),
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
    use crate::target::hash_by_all;

    #[test]
    fn a_key_of_ascii_bytes_is_shown_as_text() {
        let flyway = Key::BigInt(0x466c_7977_6179);
        assert_eq!(ascii(flyway).as_deref(), Some("Flyway"));
        assert_eq!(ascii(Key::BigInt(42)), None);
        assert_eq!(ascii(Key::from("foo")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_as_a_key_or_as_columns(
            text in any::<String>(),
            almost_key in "[( ]{0,2}[-+0-9a-fx, )]{0,40}",
            columns: (u32, u32),
        ) {
            for text in [text, almost_key] {
                let parsed = parse(&text).ok();
                prop_assert!(text.split(',').count() == 3 || parsed == parse_key(&text).ok());
            }
            let (classid, objid) = columns;
            let parsed = parse(&format!(" {classid},{objid} ,2")).ok();
            prop_assert_eq!(parsed, Key::from_pg_locks(classid, objid, 2));
        }

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
