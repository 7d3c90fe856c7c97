//! The names file.

use std::ops::RangeInclusive;
use std::path::Path;

use advisory_core::Key;

use crate::exit::Failure;
use crate::target::parse_key;

/// The largest number of names in one file.
const MAX_NAMES: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A name, from which every scheme makes a key.
    Name(String),
    /// A key and its name.
    Key(Key, String),
}

/// Reads a names file.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Failure> {
    let failure = |reason: String| {
        let path = path.display();
        Failure::usage(format!("the names file {path}{reason}"))
    };
    let bytes =
        std::fs::read(path).map_err(|error| failure(format!(" cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = String::from_utf8_lossy(valid).matches('\n').count() + 1;
        failure(format!(", line {line}: expected UTF-8"))
    })?;
    parse(&text).map_err(|(line, error)| failure(format!(", line {line}: {error}")))
}

/// Parses the content of a names file. An error comes with the number of its line.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut entries = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        parse_line(line, &mut entries).map_err(|error| (index + 1, error))?;
        if entries.len() > MAX_NAMES {
            return Err((index + 1, too_many()));
        }
    }
    Ok(entries)
}

fn parse_line(line: &str, entries: &mut Vec<Entry>) -> Result<(), String> {
    if line.contains(char::is_control) {
        return Err("expected a name without control characters".to_owned());
    }
    if let Some((key, name)) = line.split_once(" = ").filter(|(key, _)| is_number(key)) {
        entries.push(Entry::Key(parse_key(key)?, name.trim().to_owned()));
        return Ok(());
    }
    let Some((before, numbers, after)) = parse_range(line) else {
        entries.push(Entry::Name(line.to_owned()));
        return Ok(());
    };
    if numbers.clone().nth(MAX_NAMES).is_some() {
        return Err(too_many());
    }
    entries.extend(numbers.map(|number| Entry::Name(format!("{before}{number}{after}"))));
    Ok(())
}

fn too_many() -> String {
    format!("expected at most {MAX_NAMES} names in all")
}

/// Whether the text is meant as a key: digits, and the characters around the digits of a key.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let digits = text.trim_start_matches(['(', '[', '-', '+', ' ']);
    digits.starts_with(|digit: char| digit.is_ascii_digit())
        && !text.contains(|c: char| !c.is_ascii_hexdigit() && !"xX()[],-+ ".contains(c))
}

/// Splits `sync({1..500})` into the text before, the numbers and the text after.
fn parse_range(line: &str) -> Option<(&str, RangeInclusive<i64>, &str)> {
    let (before, rest) = line.split_once('{')?;
    let (numbers, after) = rest.split_once('}')?;
    let (first, last) = numbers.split_once("..")?;
    Some((before, first.parse().ok()?..=last.parse().ok()?, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Entry {
        Entry::Name(text.to_owned())
    }

    #[test]
    fn a_line_is_a_name_a_named_key_or_a_range_of_names() {
        let text = "\u{feff}# ours\n\n nightly \r\n42 = the answer\n(1, -7) = a pair\n\
                    0x1f = hex\nsync({8..10})\na = b\n{id}";
        let key = |key: &str, name: &str| Entry::Key(parse_key(key).unwrap(), name.to_owned());
        assert_eq!(
            parse(text).unwrap(),
            [
                name("nightly"),
                key("42", "the answer"),
                key("(1, -7)", "a pair"),
                key("31", "hex"),
                name("sync(8)"),
                name("sync(9)"),
                name("sync(10)"),
                name("a = b"),
                name("{id}"),
            ]
        );
    }

    #[test]
    fn an_error_has_the_number_of_its_line() {
        for (text, line) in [
            ("a\n99999999999999999999 = too large", 2),
            ("a\nb\n1, 2, 3 = three", 3),
            ("bell\u{7}", 1),
            ("x({1..9000000})", 1),
            ("x({0..9223372036854775807})", 1),
            ("a({1..900000})\nb({1..900000})", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line, "{text:?}");
        }
    }

    /// Valid lines, and lines that are almost valid.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>().prop_map(|text| text.replace(['\n', '\r'], " ")),
            "[-+ (]{0,3}[0-9a-fxX]{1,24}[, )]{0,3}[-+0-9]{0,12}[)]? = .{0,8}",
            "[a-z({]{0,3}\\{[-+]?[0-9]{0,3}\\.\\.[-+]?([0-9]{0,3}|[0-9]{15,20})\\}?[)}a-z]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn any_lines_are_entries_or_the_error_of_the_first_bad_line(
            lines in prop::collection::vec(line(), 0..9),
            end in "\r?\n",
        ) {
            let alone = |line: &String| parse(&format!("#{end}{line}"));
            let bad = lines.iter().position(|line| alone(line).is_err());
            let text = format!("#{end}{}", lines.join(&end));
            match (parse(&text), bad) {
                (Ok(entries), bad) => {
                    prop_assert_eq!(bad, None);
                    let each = lines.iter().flat_map(|line| alone(line).unwrap());
                    prop_assert!(each.eq(entries));
                }
                (Err((line, error)), Some(bad)) => {
                    prop_assert_eq!((line, error), (bad + 2, alone(&lines[bad]).unwrap_err().1));
                }
                (Err((_, error)), None) => prop_assert!(false, "{error} in no line"),
            }
        }
    }
}
