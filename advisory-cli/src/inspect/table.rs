//! The rows of `ls` as a table.

use anstream::adapter::strip_str;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

use super::row::Row;
use crate::lock_status::{application, state, status};
use crate::output;

/// The text of a cell, if the row has any.
type Content = fn(&Row<'_>) -> Option<String>;

/// A column that is empty in every row is left out.
const COLUMNS: [(&str, Content); 12] = [
    ("DATABASE", |row| Some(row.lock().database.clone())),
    ("NAME", |row| row.name()),
    ("KEY", |row| Some(row.key())),
    ("MODE", |row| Some(row.mode())),
    ("STATUS", |row| Some(status(row.lock()))),
    ("PID", |row| {
        (row.lock().pid != 0).then(|| row.lock().pid.to_string())
    }),
    ("APPLICATION", |row| application(row.lock())),
    ("USER", |row| row.lock().user.clone()),
    ("CLIENT", |row| row.lock().client_addr.clone()),
    ("STATE", |row| state(row.lock())),
    ("BLOCKED BY", blocked_by),
    ("QUERY", query),
];

/// The columns that are left out, in this order, if the table is too wide.
const EXPENDABLE_COLUMNS: [&str; 2] = ["CLIENT", "USER"];

const MAX_CELL_WIDTH: usize = 48;

/// The query has the rest of the line, and is left out if the rest is narrower than this.
const MIN_QUERY_WIDTH: usize = 16;

/// The width of the query if the width of the table is not limited.
const DEFAULT_QUERY_WIDTH: usize = 120;

/// Draws the table, no wider than `max_width` if columns can be left out.
pub(super) fn draw(rows: &[Row<'_>], with_database: bool, max_width: Option<usize>) -> Table {
    let mut columns = COLUMNS.to_vec();
    columns.retain(|(head, content)| {
        let has_content = || rows.iter().any(|row| content(row).is_some());
        (with_database || *head != "DATABASE") && has_content()
    });
    let Some(max_width) = max_width else {
        return draw_columns(rows, &columns, DEFAULT_QUERY_WIDTH);
    };
    let query = columns.pop_if(|(head, _)| *head == "QUERY");
    let mut table = draw_columns(rows, &columns, 0);
    for expendable in EXPENDABLE_COLUMNS {
        if width(&table) > max_width {
            columns.retain(|(head, _)| *head != expendable);
            table = draw_columns(rows, &columns, 0);
        }
    }
    let query_width = max_width.saturating_sub(width(&table) + 1);
    if query_width >= MIN_QUERY_WIDTH {
        columns.extend(query);
        table = draw_columns(rows, &columns, query_width);
    }
    table
}

fn width(table: &Table) -> usize {
    let widths = table
        .lines()
        .map(|line| strip_str(&line).to_string().trim_end().chars().count());
    widths.max().unwrap_or(0)
}

fn draw_columns(rows: &[Row<'_>], columns: &[(&str, Content)], query_width: usize) -> Table {
    let mut table = output::new_table();
    table.set_content_arrangement(ContentArrangement::Disabled);
    let heads = columns.iter().map(|(head, _)| Cell::new(head));
    table.set_header(heads.map(|head| head.add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(columns.iter().map(|(head, content)| {
            let max = if *head == "QUERY" {
                query_width
            } else {
                MAX_CELL_WIDTH
            };
            let text = content(row).unwrap_or_default();
            coloured(row, head, Cell::new(truncate(&text, max)))
        }));
    }
    table
}

fn coloured(row: &Row<'_>, head: &str, cell: Cell) -> Cell {
    let lock = row.lock();
    match head {
        "NAME" => cell.fg(Color::Cyan),
        "QUERY" => cell.fg(Color::DarkGrey),
        "STATUS" if lock.granted => cell.fg(Color::Green),
        "STATUS" | "BLOCKED BY" => cell.fg(Color::Yellow),
        "STATE" if lock.granted && lock.state.as_deref() == Some("idle in transaction") => {
            cell.fg(Color::Red)
        }
        _ => cell,
    }
}

fn blocked_by(row: &Row<'_>) -> Option<String> {
    let pids = row.lock().blocked_by.iter().map(|pid| match pid {
        0 => "prepared".to_owned(),
        pid => pid.to_string(),
    });
    Some(pids.collect::<Vec<_>>().join(", ")).filter(|pids| !pids.is_empty())
}

/// The query of the session, on one line.
fn query(row: &Row<'_>) -> Option<String> {
    let words: Vec<_> = row.lock().query.as_deref()?.split_whitespace().collect();
    Some(words.join(" ")).filter(|query| !query.is_empty())
}

/// At most this many characters, without control characters, which could move the cursor.
fn truncate(text: &str, max: usize) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(max) {
        None => text,
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}
