//! What a key might be.

use std::fmt;

use advisory_core::Key;
use advisory_core::scheme::{self, Space, System};
use serde::Serialize;

use crate::exit::{Code, Failure};
use crate::key::hex;
use crate::names::{Names, Origin, of_tool};

/// All that is known of a key.
#[derive(Serialize)]
pub(crate) struct Decoded {
    key: String,
    hex: String,
    classid: u32,
    objid: u32,
    objsubid: i16,
    /// From the names file.
    name: Option<String>,
    /// The scheme by which the name has this key.
    scheme: Option<&'static str>,
    /// The tool that takes it.
    tool: Option<String>,
    /// Its bytes as ASCII, if they are.
    ascii: Option<String>,
    /// The schemes that make keys such as this one.
    schemes: Vec<&'static str>,
    is_small: bool,
}

pub(crate) fn decode(
    text: &str,
    database: Option<&str>,
    names: &mut Names,
) -> Result<Decoded, Failure> {
    let key = parse(text)?;
    let (classid, objid, objsubid) = key.to_pg_locks();
    let is_small = is_small(key);
    let name = names.of_key(key);
    Ok(Decoded {
        key: key.to_string(),
        hex: hex(key),
        classid,
        objid,
        objsubid,
        name: name.map(|name| name.text.clone()),
        scheme: name.and_then(|name| match name.origin {
            Origin::Scheme(scheme) => Some(scheme),
            Origin::File | Origin::Session | Origin::Tool => None,
        }),
        tool: of_tool(key, database).map(|name| name.text),
        ascii: ascii(key),
        schemes: scheme::systems()
            .filter(|system| makes(system, key))
            .map(|system| system.scheme)
            .collect(),
        is_small,
    })
}

/// A key, or the columns of `pg_locks` with commas between.
fn parse(text: &str) -> Result<Key, Failure> {
    let wrong = |what: String| Failure::new(Code::Usage, what);
    let columns: Vec<_> = text.split(',').map(str::trim).collect();
    let &[classid, objid, objsubid] = &columns[..] else {
        return text.parse().map_err(|error| {
            wrong(format!(
                "{error}; `advisory key NAME` shows the keys of a name"
            ))
        });
    };
    let key = || {
        Key::from_pg_locks(
            classid.parse().ok()?,
            objid.parse().ok()?,
            objsubid.parse().ok()?,
        )
    };
    key().ok_or_else(|| {
        let expected = "expected `classid,objid,objsubid` as in `pg_locks`, the last one 1 or 2";
        wrong(format!("{expected}, found `{text}`"))
    })
}

/// Whether somebody may have chosen it as a number.
fn is_small(key: Key) -> bool {
    const SMALL: u64 = 1_000_000;
    match key {
        Key::BigInt(key) => key.unsigned_abs() <= SMALL,
        Key::IntPair(first, second) => [first, second]
            .iter()
            .any(|half| u64::from(half.unsigned_abs()) <= SMALL),
    }
}

fn makes(system: &System, key: Key) -> bool {
    match key {
        Key::BigInt(key) => {
            let is_short = u32::try_from(key).is_ok() || i32::try_from(key).is_ok();
            system.space != Space::IntPair && (system.bits <= 32) == is_short
        }
        Key::IntPair(..) => system.space != Space::BigInt,
    }
}

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
        let Self {
            key,
            hex,
            classid,
            objid,
            objsubid,
            ..
        } = self;
        writeln!(f, "{key}")?;
        writeln!(f, "  bits      {hex}")?;
        writeln!(
            f,
            "  pg_locks  classid {classid}, objid {objid}, objsubid {objsubid}"
        )?;
        if let Some(name) = &self.name {
            let by = self
                .scheme
                .map_or(String::new(), |scheme| format!(", by {scheme}"));
            writeln!(f, "  name      {name}{by}")?;
        }
        if let Some(tool) = &self.tool {
            writeln!(f, "  tool      {tool}")?;
        }
        if let Some(ascii) = &self.ascii {
            writeln!(f, "  as text   {ascii}")?;
        }
        if self.is_small {
            writeln!(f, "  perhaps   a number that somebody has chosen")?;
        }
        write!(f, "  fits      {}", self.schemes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_of_pg_locks_are_a_key() {
        let key = Key::from("foo");
        let (classid, objid, objsubid) = key.to_pg_locks();
        let text = format!("{classid}, {objid},{objsubid}");
        assert_eq!(parse(&text).unwrap(), key);
        for text in ["1,2,3", "-1,2,1", "1,2,x", "", "sync(4)", "1,2,3,4"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_scheme_makes_its_own_keys() {
        for system in scheme::systems() {
            assert!(makes(system, system.foo), "{}", system.scheme);
        }
    }

    #[test]
    fn text_that_was_made_a_number_is_text_again() {
        let flyway = Key::BigInt(0x466c_7977_6179);
        assert_eq!(ascii(flyway).as_deref(), Some("Flyway"));
        assert_eq!(ascii(Key::BigInt(42)), None);
        assert_eq!(ascii(Key::from("foo")), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_is_not(text in any::<String>(), like in "[( ]{0,2}[-+0-9a-fx, )]{0,40}", columns: (u32, u32)) {
            for text in [text, like] {
                let read = parse(&text);
                prop_assert!(text.split(',').count() == 3 || read.ok() == text.parse().ok());
            }
            let (classid, objid) = columns;
            let read = parse(&format!(" {classid},{objid} ,2")).ok();
            prop_assert_eq!(read, Key::from_pg_locks(classid, objid, 2));
        }

        #[test]
        fn the_scheme_of_any_name_is_among_those_of_its_key(name in any::<String>(), plain in "[a-zA-Z0-9:. ]{0,20}") {
            for (system, name) in scheme::systems().flat_map(|system| [(system, &name), (system, &plain)]) {
                let told = system.key(name).is_none_or(|key| makes(system, key));
                prop_assert!(told, "{} of {:?}", system.scheme, name);
            }
        }
    }
}
