//! Messages that are always visible.

use std::io::Write as _;

/// Prints a message to the process's standard error, where the test runner does not capture it.
/// The output of `eprintln!` is shown only if the test fails.
pub fn print_notice(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "advisory-tests: {text}");
}
