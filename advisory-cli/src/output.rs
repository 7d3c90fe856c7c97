//! Standard output: lines, tables, colours and JSON.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _, stdout};

use anstream::{AutoStream, ColorChoice};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::exit::Failure;

/// Prints a line. Its colours are removed where [`is_coloured`] is false.
pub(crate) fn print_line(text: impl Display) -> Result<(), Failure> {
    writeln!(anstream::stdout(), "{text}").map_err(|error| match error.kind() {
        // A reader that closes the pipe early, such as `head`, is not an error.
        ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::other(format!("cannot write to standard output: {error}")),
    })
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print_line(serde_json::to_string_pretty(value).map_err(|error| json_failure(&error))?)
}

/// Text of somebody else without control characters, which could move the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Printable text that takes at most this many columns of a terminal. A character can take two, and
/// an accent none.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let text = printable(text);
    if text.width() <= max {
        return text;
    }
    let mut short = String::new();
    for char in text.chars() {
        // Measured as a whole: an emoji of several characters is narrower than their sum.
        short.push(char);
        if short.width() >= max {
            short.pop();
            break;
        }
    }
    short + "…"
}

/// A value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| json_failure(&error))
}

fn json_failure(error: &serde_json::Error) -> Failure {
    Failure::other(format!("cannot write JSON: {error}"))
}

/// A table without borders. It fits its columns into the width of a terminal; elsewhere they are as
/// wide as their content.
pub(crate) fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // Without colours, `force_no_tty` below would hide the terminal's width.
        if let Some(width) = table.width() {
            table.set_width(width);
        }
    }
    if is_coloured() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

pub(crate) fn print_table(table: &Table) -> Result<(), Failure> {
    print_line(table.trim_fmt())
}

/// Whether standard output is a terminal whose colours `NO_COLOR` and its like do not switch off.
fn is_coloured() -> bool {
    AutoStream::choice(&stdout()) != ColorChoice::Never
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// The number of columns of the terminal, if standard output is one.
pub(crate) fn terminal_width() -> Option<usize> {
    let size = crossterm::terminal::size().ok().filter(|_| is_terminal());
    size.map(|(columns, _)| columns.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_where_its_columns_end() {
        for (text, max, short) in [
            ("sync(4)", 7, "sync(4)"),
            ("sync(42)", 7, "sync(4…"),
            ("同期同期", 8, "同期同期"),
            ("同期同期", 7, "同期同…"),
            ("同期同期", 6, "同期…"),
            ("a\u{1b}[2J\n", 9, "a\u{fffd}[2J\u{fffd}"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
        ] {
            assert_eq!(shortened(text, max), short, "{text:?}, {max}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_wider_than_its_limit(text in any::<String>(), max in 1_usize..60) {
            let short = shortened(&text, max);
            prop_assert!(short.width() <= max, "{short:?} takes {}", short.width());
            prop_assert!(!short.contains(char::is_control));
        }
    }
}
