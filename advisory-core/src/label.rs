//! A lock's name in the `application_name` of the session that holds it: `billing advisory:sync(4)`.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What PostgreSQL keeps of an `application_name`, in bytes.
const ROOM: usize = 63;

const MARK: &str = "advisory:";

/// Stands for the rest of a name that is too long.
const CUT: &str = "...";

/// PostgreSQL keeps only ASCII, and quotes would end a literal.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'\'').add(b'\\');

/// The end of an `application_name` that says this name.
pub(crate) fn write(name: &str) -> String {
    // The last mark counts.
    let mut name = utf8_percent_encode(name, ENCODED)
        .to_string()
        .replace(MARK, "advisory%3A");
    // A name of its own dots is not one that was cut.
    if name.ends_with(CUT) {
        name.replace_range(name.len() - 1.., "%2E");
    }
    let room = ROOM - MARK.len();
    if name.len() <= room {
        return format!("{MARK}{name}");
    }
    let end = (0..=room - CUT.len())
        .rev()
        .find(|&end| !name[..end].bytes().rev().take(2).any(|byte| byte == b'%'))
        .unwrap_or(0);
    format!("{MARK}{}{CUT}", &name[..end])
}

/// The name that an `application_name` says; it ends with `…` if it was too long.
pub(crate) fn read(application: &str) -> Option<String> {
    let (_, name) = application.rsplit_once(MARK)?;
    let cut = name
        .strip_suffix(CUT)
        .filter(|_| application.len() + 2 >= ROOM);
    let decoded = percent_decode_str(cut.unwrap_or(name)).decode_utf8_lossy();
    Some(match cut {
        // What is left of a letter that was cut through.
        Some(_) => format!("{}…", decoded.trim_end_matches('\u{fffd}')),
        None => decoded.into_owned(),
    })
}

/// How much of the session's own name there is room for before it, in bytes.
pub(crate) fn room_before(label: &str) -> usize {
    ROOM.saturating_sub(label.len() + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
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
    fn a_name_that_ends_in_dots_is_not_one_that_was_cut() {
        let name = "a job that takes its time, and takes it, and ...";
        let application = application(&"billing ".repeat(9), &write(name));
        assert_eq!(application.len(), ROOM);
        assert_eq!(read(&application).as_deref(), Some(name));
    }

    #[test]
    fn a_long_name_is_cut_between_its_letters() {
        for name in [
            "n".repeat(80),
            "ü".repeat(40),
            format!("x{}", "ü".repeat(40)),
        ] {
            let label = write(&name);
            assert!(label.len() <= ROOM && room_before(&label) <= 3, "{label}");
            let read = read(&label).unwrap();
            let start = read.strip_suffix('…').unwrap();
            assert!(start.len() > 15 && name.starts_with(start), "{read}");
        }
        assert_eq!(read(&write("n...")).as_deref(), Some("n..."));
    }

    /// As `application_name` is made: the session's own name is cut where there is no room.
    fn application(own: &str, label: &str) -> String {
        let own = &own[..own.len().min(room_before(label))];
        [own, label].join(" ").trim_start().to_owned()
    }

    proptest! {
        #[test]
        fn any_name_is_read_as_it_was_written_as_far_as_there_is_room(
            name in prop_oneof![any::<String>(), "[%'.a-zü…:\\\\]{0,80}", "(advisory:|%3A|[.]{3}|…){0,8}"],
            own in "[ -~]{0,70}",
        ) {
            let label = write(&name);
            let application = application(&own, &label);
            prop_assert!(application.is_ascii() && application.len() <= ROOM, "{}", application);
            prop_assert!(!label.contains(['\'', '\\']) && !label.contains(char::is_control), "{}", label);
            let read = read(&application).unwrap();
            if !label.ends_with(CUT) {
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
