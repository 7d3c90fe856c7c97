//! Messages that are always visible.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// Prints a message to the process's standard error, where the test runner does not capture it.
/// The output of `eprintln!` is shown only if the test fails.
pub fn print_notice(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "advisory-tests: {text}");
}

/// What a test needs, if it was found. Otherwise prints a notice, once for each `what`.
///
/// # Panics
///
/// If it was not found, and is required.
pub(crate) fn found_or_skipped<T>(
    what: &str,
    found: Result<T, String>,
    is_required: bool,
) -> Option<T> {
    static NOTICES: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let reason = match found {
        Ok(found) => return Some(found),
        Err(reason) => format!("{what}: {reason}"),
    };
    assert!(!is_required, "{reason}");
    let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    if notices.get_or_insert_default().insert(what.to_owned()) {
        print_notice(&format!("SKIPPED {reason}"));
    }
    None
}
