//! A file of names.

use std::path::Path;

use advisory_core::Key;

use crate::exit::{Code, Failure};

/// As many names as one file may stand for.
const MOST: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A name, whose keys follow from it.
    Name(String),
    /// A key with a name.
    Key(Key, String),
}

/// What a file says.
pub(super) fn entries(path: &Path) -> Result<Vec<Entry>, Failure> {
    let said = |what: String| {
        let path = path.display();
        Failure::new(Code::Usage, format!("the names file {path}{what}"))
    };
    let bytes = std::fs::read(path).map_err(|error| said(format!(" cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = String::from_utf8_lossy(before).matches('\n').count() + 1;
        said(format!(", line {line}: expected UTF-8"))
    })?;
    parse(&text).map_err(|(line, what)| said(format!(", line {line}: {what}")))
}

/// What a text says, or the line that says nothing and why.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut entries = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read(line, &mut entries).map_err(|what| (index + 1, what))?;
        if entries.len() > MOST {
            return Err((index + 1, format!("expected at most {MOST} names in all")));
        }
    }
    Ok(entries)
}

fn read(line: &str, entries: &mut Vec<Entry>) -> Result<(), String> {
    if line.contains(char::is_control) {
        return Err("expected a name without control characters".to_owned());
    }
    if let Some((key, name)) = line.split_once(" = ").filter(|(key, _)| is_number(key)) {
        let key = key.parse().map_err(|error| format!("{error}"))?;
        entries.push(Entry::Key(key, name.trim().to_owned()));
        return Ok(());
    }
    match range(line) {
        Some((before, numbers, after)) => {
            if numbers.clone().nth(MOST).is_some() {
                return Err(format!("expected at most {MOST} names in all"));
            }
            let names = numbers.map(|number| Entry::Name(format!("{before}{number}{after}")));
            entries.extend(names);
        }
        None => entries.push(Entry::Name(line.to_owned())),
    }
    Ok(())
}

/// Whether this is meant as a key: digits, and what stands around those of one.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let digits = text.trim_start_matches(['(', '-', '+', ' ']);
    digits.starts_with(|digit: char| digit.is_ascii_digit())
        && !text.contains(|c: char| !c.is_ascii_hexdigit() && !"xX(),-+ ".contains(c))
}

/// Takes `sync({1..500})` apart.
fn range(line: &str) -> Option<(&str, std::ops::RangeInclusive<i64>, &str)> {
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
        let text = "\u{feff}# ours\n\n nightly \r\n42 = the answer\n(1, -7) = a pair\n0x1f = hex\nsync({8..10})\na = b\n{id}";
        let read = parse(text).unwrap();
        let key = |key: &str, name: &str| Entry::Key(key.parse().unwrap(), name.to_owned());
        assert_eq!(
            read,
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
    fn a_bad_line_is_told_by_its_number() {
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

    /// Lines as one writes them, and such as go wrong.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>().prop_map(|text| text.replace(['\n', '\r'], " ")),
            "[-+ (]{0,3}[0-9a-fxX]{1,24}[, )]{0,3}[-+0-9]{0,12}[)]? = .{0,8}",
            "[a-z({]{0,3}\\{[-+]?[0-9]{0,3}\\.\\.[-+]?([0-9]{0,3}|[0-9]{15,20})\\}?[)}a-z]{0,3}",
        ]
    }

    proptest! {
        #[test]
        fn any_lines_are_names_or_the_first_bad_one_is_told(lines in prop::collection::vec(line(), 0..9), end in "\r?\n") {
            let alone = |line: &String| parse(&format!("#{end}{line}"));
            let bad = lines.iter().position(|line| alone(line).is_err());
            let text = format!("#{end}{}", lines.join(&end));
            match (parse(&text), bad) {
                (Ok(entries), bad) => {
                    prop_assert_eq!(bad, None);
                    let each = lines.iter().flat_map(|line| alone(line).unwrap());
                    prop_assert!(each.eq(entries));
                }
                (Err((line, what)), Some(bad)) => {
                    prop_assert_eq!((line, what), (bad + 2, alone(&lines[bad]).unwrap_err().1));
                }
                (Err((_, what)), None) => prop_assert!(false, "{} in no line", what),
            }
        }
    }
}
