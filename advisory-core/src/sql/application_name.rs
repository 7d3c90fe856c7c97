//! A lock's name in the `application_name` of the session that holds it:
//! `billing advisory:sync(4)`.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// PostgreSQL cuts an `application_name` after this many bytes.
const LIMIT: usize = 63;

/// Begins the lock's name.
const PREFIX: &str = "advisory:";

/// Replaces the end of a name that is too long.
const ELLIPSIS: &str = "...";

/// PostgreSQL keeps only ASCII, and a quote would end the literal.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'\'').add(b'\\');

/// The end of an `application_name` that shows this name.
pub(super) fn write(name: &str) -> String {
    // The last prefix counts.
    let mut name = utf8_percent_encode(name, ENCODED)
        .to_string()
        .replace(PREFIX, "advisory%3A");
    // A name that ends with dots must not look cut.
    if name.ends_with(ELLIPSIS) {
        name.replace_range(name.len() - 1.., "%2E");
    }
    format!("{PREFIX}{}", shortened(name, LIMIT - PREFIX.len()))
}

/// A percent-encoded name that fits into so many bytes.
pub(super) fn shortened(mut name: String, space: usize) -> String {
    if name.len() > space {
        let end = (0..=space - ELLIPSIS.len())
            .rev()
            .find(|&end| !name[..end].bytes().rev().take(2).any(|byte| byte == b'%'))
            .unwrap_or(0);
        name.truncate(end);
        name.push_str(ELLIPSIS);
    }
    name
}

/// The name that an `application_name` shows; it ends with `…` if it was too long.
pub(crate) fn read(application: &str) -> Option<String> {
    let (_, name) = application.rsplit_once(PREFIX)?;
    let cut = name
        .strip_suffix(ELLIPSIS)
        .filter(|_| application.len() + 2 >= LIMIT);
    let decoded = percent_decode_str(cut.unwrap_or(name)).decode_utf8_lossy();
    Some(match cut {
        // The rest of a character that was cut through.
        Some(_) => format!("{}…", decoded.trim_end_matches('\u{fffd}')),
        None => decoded.into_owned(),
    })
}

/// The session's own name, before that of the lock; `None` if it has none.
pub(crate) fn own(application: &str) -> Option<&str> {
    let own = application
        .rsplit_once(PREFIX)
        .map_or(application, |(own, _)| own)
        .trim_end();
    (!own.is_empty()).then_some(own)
}

/// How many bytes of the session's own name fit before the tag.
pub(super) fn space_before(tag: &str) -> usize {
    LIMIT.saturating_sub(tag.len() + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_written_name_is_read_back() {
        for name in [
            "sync(4)",
            "",
            "it's 100 %",
            "advisory:advisory:x",
            "a\\b\n\0",
            "Ünïcode …",
            "\u{fffd}",
        ] {
            for own in ["", "billing ", "advisory:old "] {
                let application = format!("{own}{}", write(name));
                assert!(application.is_ascii() && !application.contains(['\'', '\\']));
                assert_eq!(read(&application).as_deref(), Some(name), "{application}");
            }
        }
        assert_eq!(read("billing"), None);
    }

    #[test]
    fn a_sessions_own_name_is_what_is_before_the_locks() {
        for (application, expected) in [
            ("billing advisory:sync(4)", Some("billing")),
            ("billing", Some("billing")),
            ("advisory:sync(4)", None),
            ("", None),
        ] {
            assert_eq!(own(application), expected, "{application}");
        }
    }

    #[test]
    fn a_name_that_ends_with_dots_does_not_look_cut() {
        let name = "a job that takes its time, and takes it, and ...";
        let application = application(&"billing ".repeat(9), &write(name));
        assert_eq!(application.len(), LIMIT);
        assert_eq!(read(&application).as_deref(), Some(name));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        for name in [
            "n".repeat(80),
            "ü".repeat(40),
            format!("x{}", "ü".repeat(40)),
        ] {
            let tag = write(&name);
            assert!(tag.len() <= LIMIT && space_before(&tag) <= 3, "{tag}");
            let read = read(&tag).unwrap();
            let start = read.strip_suffix('…').unwrap();
            assert!(start.len() > 15 && name.starts_with(start), "{read}");
        }
        assert_eq!(read(&write("n...")).as_deref(), Some("n..."));
    }

    /// As the server makes it: the session's own name is cut if it does not fit.
    fn application(own: &str, tag: &str) -> String {
        let own = &own[..own.len().min(space_before(tag))];
        [own, tag].join(" ").trim_start().to_owned()
    }

    proptest! {
        #[test]
        fn any_name_is_read_back_as_far_as_it_fits(
            name in prop_oneof![any::<String>(), "[%'.a-zü…:\\\\]{0,80}", "(advisory:|%3A|[.]{3}|…){0,8}"],
            own in "[ -~]{0,70}",
        ) {
            let tag = write(&name);
            let application = application(&own, &tag);
            prop_assert!(application.is_ascii() && application.len() <= LIMIT, "{}", application);
            prop_assert!(!tag.contains(['\'', '\\']) && !tag.contains(char::is_control), "{}", tag);
            let read = read(&application).unwrap();
            if !tag.ends_with(ELLIPSIS) {
                prop_assert_eq!(read, name);
                return Ok(());
            }
            let start = read.strip_suffix('…').unwrap();
            prop_assert!(name.len() > 15 && name.starts_with(start), "{} is not the start of {}", start, name);
        }

        #[test]
        fn any_application_name_can_be_read(application in any::<String>(), marked in "[ -~]{0,20}advisory:[%0-9a-fA-F.]{0,54}") {
            read(&application);
            prop_assert!(read(&marked).is_some());
        }
    }
}
