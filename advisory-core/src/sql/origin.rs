//! A comment before a message: which process sends it and, if wished, for which lock.
//!
//! `pg_stat_activity` shows it for as long as the session runs nothing else. An empty statement
//! ends it, so that it belongs to no statement: `pg_stat_statements` has no entry for each comment.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::application_name::shortened;

/// Not the process id, which other machines have as well.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let random = RandomState::new().hash_one(std::process::id());
    format!("advisory {random:016x}")
});

/// The longest name in bytes. PostgreSQL shows the first 1024 bytes of a message.
const LONGEST_NAME: usize = 200;

/// What could begin or end a comment, and what only some encodings have.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'*');

/// What the comment says of this process.
pub(super) fn process() -> &'static str {
    &PROCESS
}

/// The message with the comment before it.
pub(crate) fn mark(name: Option<&str>, message: &str) -> String {
    let process = &*PROCESS;
    match name {
        None => format!("/* {process} */;{message}"),
        Some(name) => {
            let name = utf8_percent_encode(name, ENCODED).to_string();
            let name = shortened(name, LONGEST_NAME);
            format!("/* {process}: {name} */;{message}")
        }
    }
}

/// As [`mark`], of the message with which a session begins to lead. While the session leads, it
/// runs nothing else, so that the time of the message is the beginning of its term.
pub(crate) fn mark_leader(message: &str) -> String {
    let process = &*PROCESS;
    format!("/* {process} leads */;{message}")
}

/// Whether the last message of a session is one of [`mark_leader`]; an expression.
pub(super) fn is_of_leader(query: &str) -> String {
    format!("pg_catalog.textregexeq({query},'^/[*] advisory [0-9a-f]{{16}} leads [*]/')")
}

/// Whether the last message of a session was sent by this process; an expression. It is not known
/// if the session has run something else since, or hides what it runs.
pub(super) fn is_this_process(query: &str) -> String {
    let process = &*PROCESS;
    format!("COALESCE(pg_catalog.strpos({query},'/* {process}') OPERATOR(pg_catalog.>) 0,false)")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_name_ends_the_comment(name in prop_oneof![any::<String>(), "[*/;'\\\\$?ü\n\0-]{0,300}"]) {
            let marked = mark(Some(&name), "SELECT 1");
            let comment = marked.strip_prefix("/*").and_then(|rest| rest.strip_suffix("*/;SELECT 1"));
            let comment = comment.expect("a comment");
            prop_assert!(!comment.contains('*') && comment.len() < 256, "{}", comment);
            prop_assert!(comment.is_ascii() && !comment.contains(|c: char| c.is_control()), "{}", comment);
        }
    }
}
