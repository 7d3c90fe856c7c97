//! The rows of `ls` as a table.

use anstream::adapter::strip_str;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};
use unicode_width::UnicodeWidthStr as _;

use super::row::Row;
use crate::lock_status::{self, application, state};
use crate::output;

/// The text of a cell, if the row has any.
type Content = fn(&Row<'_>) -> Option<String>;

type Column = (&'static str, Content);

/// A column that is empty in every row is left out.
const COLUMNS: [Column; 12] = [
    ("DATABASE", |row| Some(row.lock().database.clone())),
    ("NAME", |row| row.name()),
    ("KEY", |row| Some(row.key())),
    ("MODE", |row| Some(row.mode())),
    ("STATUS", |row| Some(row.status())),
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

/// The column that replaces NAME and KEY if there is no room for both.
const LOCK: Column = ("LOCK", |row| row.name().or_else(|| Some(row.key())));

/// What is done, in this order, until the table fits.
const STEPS: [Step; 9] = [
    Step::LeaveOut("CLIENT"),
    Step::LeaveOut("USER"),
    Step::NameOrKey,
    Step::LeaveOut("MODE"),
    Step::LeaveOut("STATE"),
    Step::LeaveOut("APPLICATION"),
    Step::LeaveOut("DATABASE"),
    Step::Shorten(24),
    Step::Shorten(12),
];

/// The first steps, which leave out less than the query says.
const MINOR_STEPS: usize = 2;

#[derive(Clone, Copy)]
enum Step {
    LeaveOut(&'static str),
    /// One column instead of NAME and KEY.
    NameOrKey,
    /// Texts that can be of any length get so many columns.
    Shorten(usize),
}

const MAX_CELL_WIDTH: usize = 48;

/// The query has the rest of the line, and is left out if the rest is narrower than this, or if a
/// column is left out that says more.
const MIN_QUERY_WIDTH: usize = 16;

/// The width of the query if the width of the table is not limited.
const DEFAULT_QUERY_WIDTH: usize = 120;

/// The widths of cells.
#[derive(Clone, Copy)]
struct Widths {
    text: usize,
    query: usize,
}

/// Draws the table, no wider than `max_width` if that is enough for the lock, its status, the
/// process id and the blocking ones.
pub(super) fn draw(rows: &[Row<'_>], with_database: bool, max_width: Option<usize>) -> Table {
    let mut columns = COLUMNS.to_vec();
    columns.retain(|(head, content)| {
        let has_content = || rows.iter().any(|row| content(row).is_some());
        (with_database || *head != "DATABASE") && has_content()
    });
    let mut widths = Widths {
        text: MAX_CELL_WIDTH,
        query: DEFAULT_QUERY_WIDTH,
    };
    let Some(max_width) = max_width else {
        return draw_columns(rows, &columns, widths);
    };
    let query = columns.pop_if(|(head, _)| *head == "QUERY");
    let mut table = draw_columns(rows, &columns, widths);
    let mut steps = STEPS.into_iter();
    while width(&table) > max_width
        && let Some(step) = steps.next()
    {
        apply(step, &mut columns, &mut widths);
        table = draw_columns(rows, &columns, widths);
    }
    widths.query = max_width.saturating_sub(width(&table) + 1);
    let is_minor = STEPS.len() - steps.len() <= MINOR_STEPS;
    if is_minor && widths.query >= MIN_QUERY_WIDTH {
        columns.extend(query);
        table = draw_columns(rows, &columns, widths);
    }
    table
}

fn apply(step: Step, columns: &mut Vec<Column>, widths: &mut Widths) {
    match step {
        Step::LeaveOut(left_out) => columns.retain(|(head, _)| *head != left_out),
        Step::NameOrKey => {
            let name = columns.iter().position(|(head, _)| *head == "NAME");
            if let Some(name) = name {
                columns.retain(|(head, _)| *head != "KEY");
                columns[name] = LOCK;
            }
        }
        Step::Shorten(text) => widths.text = text,
    }
}

/// The columns of the terminal that the widest line takes.
fn width(table: &Table) -> usize {
    let widths = table
        .lines()
        .map(|line| strip_str(&line).to_string().trim_end().width());
    widths.max().unwrap_or(0)
}

fn draw_columns(rows: &[Row<'_>], columns: &[Column], widths: Widths) -> Table {
    let mut table = output::new_table();
    table.set_content_arrangement(ContentArrangement::Disabled);
    let heads = columns.iter().map(|(head, _)| Cell::new(head));
    table.set_header(heads.map(|head| head.add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(columns.iter().map(|(head, content)| {
            let max = match *head {
                "QUERY" => widths.query,
                "STATUS" | "PID" => MAX_CELL_WIDTH,
                _ => widths.text,
            };
            let text = content(row).unwrap_or_default();
            coloured(row, head, Cell::new(output::shortened(&text, max)))
        }));
    }
    table
}

fn coloured(row: &Row<'_>, head: &str, cell: Cell) -> Cell {
    let lock = row.lock();
    match head {
        "NAME" | "LOCK" => cell.fg(Color::Cyan),
        "QUERY" => cell.fg(Color::DarkGrey),
        "STATUS" if !row.waits() => cell.fg(Color::Green),
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
    let query = lock_status::query(row.lock())?;
    let words: Vec<_> = query.split_whitespace().collect();
    Some(words.join(" "))
}
