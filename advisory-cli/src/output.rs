//! Standard output: tables, colours, JSON.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _, stdout};

use anstream::{AutoStream, ColorChoice};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Code, Failure};

/// Writes a line, without its colours where they are not wanted.
pub(crate) fn line(text: impl Display) -> Result<(), Failure> {
    written(writeln!(anstream::stdout(), "{text}"))
}

/// Writes a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(|error| no_json(&error))?)
}

/// A value as JSON on one line.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| no_json(&error))
}

/// A table without rules, whose columns make the best of a terminal and are as wide as they like elsewhere.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // Asked for here: a table without colours takes itself to be away from a terminal.
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

/// Whether standard output takes colours: a terminal, unless `NO_COLOR` or its like say otherwise.
pub(crate) fn is_coloured() -> bool {
    AutoStream::choice(&stdout()) != ColorChoice::Never
}

/// Whether somebody looks at the output as it comes.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// How wide the terminal is, if it is one.
pub(crate) fn width() -> Option<usize> {
    let size = crossterm::terminal::size().ok().filter(|_| is_terminal());
    size.map(|(columns, _)| columns.into())
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::new(Code::Failure, format!("cannot write JSON: {error}"))
}

/// A reader that has seen enough, such as `head`, is no fault.
fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::silent(),
        _ => Failure::new(
            Code::Failure,
            format!("cannot write to standard output: {error}"),
        ),
    })
}
