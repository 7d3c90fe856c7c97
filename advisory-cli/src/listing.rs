//! Locks as a table.

use advisory_core::monitor::LockStatus;
use anstream::adapter::strip_str;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

use crate::age::age;
use crate::names::Name;
use crate::output;
use crate::view::View;

type Content = fn(&LockStatus, Option<&Name>) -> Option<String>;

/// What is left out if nobody has any.
const COLUMNS: [(&str, Content); 10] = [
    ("NAME", |_, name| name.map(|name| name.text.clone())),
    ("KEY", |lock, _| Some(lock.key.to_string())),
    ("MODE", |lock, _| Some(lock.mode.to_string())),
    ("STATUS", |lock, _| Some(status(lock))),
    ("PID", |lock, _| {
        (lock.pid != 0).then(|| lock.pid.to_string())
    }),
    ("APPLICATION", |lock, _| application(lock)),
    ("USER", |lock, _| lock.user.clone()),
    ("CLIENT", |lock, _| lock.client.clone()),
    ("STATE", |lock, _| state(lock)),
    ("BLOCKED BY", |lock, _| blocked_by(lock)),
];

/// The longest that a cell gets, but for the query, which takes what is left of the line.
const MOST: usize = 48;

/// The least width of a query that says something.
const LEAST: usize = 16;

/// The width of a query where no line has to fit.
const FREE: usize = 120;

/// What a line can do without, if it is too long.
const EXPENDABLE: [&str; 2] = ["CLIENT", "USER"];

/// The table, at most so wide, if that can be.
pub(crate) fn listing(view: &View, databases: bool, width: Option<usize>) -> Table {
    let said = |content: Content| {
        view.locks()
            .any(|(lock, name)| content(lock, name).is_some())
    };
    let mut columns: Vec<_> = COLUMNS
        .into_iter()
        .filter(|(_, content)| said(*content))
        .collect();
    let query = said(query).then_some(query as Content);
    let Some(width) = width else {
        return drawn(view, databases, &columns, query.map(|query| (query, FREE)));
    };
    let mut table = drawn(view, databases, &columns, None);
    for head in EXPENDABLE {
        if taken(&table) > width {
            columns.retain(|(column, _)| *column != head);
            table = drawn(view, databases, &columns, None);
        }
    }
    let left = width.saturating_sub(taken(&table) + 1);
    match query.filter(|_| left >= LEAST) {
        Some(query) => drawn(view, databases, &columns, Some((query, left))),
        None => table,
    }
}

fn taken(table: &Table) -> usize {
    let lines = table.lines();
    let widths = lines.map(|line| strip_str(&line).to_string().trim_end().chars().count());
    widths.max().unwrap_or(0)
}

fn drawn(
    view: &View,
    databases: bool,
    columns: &[(&str, Content)],
    query: Option<(Content, usize)>,
) -> Table {
    let mut table = output::table();
    table.set_content_arrangement(ContentArrangement::Disabled);
    let head = |text: &str| Cell::new(text).add_attribute(Attribute::Bold);
    let database = databases.then_some("DATABASE");
    let heads = columns.iter().map(|(head, _)| *head);
    let last = query.map(|_| "QUERY");
    table.set_header(database.into_iter().chain(heads).chain(last).map(head));
    for (lock, name) in view.locks() {
        let database = databases.then(|| Cell::new(cut(&lock.database, MOST)));
        let cells = columns.iter().map(|(head, content)| {
            let text = content(lock, name).unwrap_or_default();
            coloured(lock, head, Cell::new(cut(&text, MOST)))
        });
        let last = query.map(|(content, width)| {
            let text = content(lock, name).unwrap_or_default();
            Cell::new(cut(&text, width)).fg(Color::DarkGrey)
        });
        table.add_row(database.into_iter().chain(cells).chain(last));
    }
    table
}

fn coloured(lock: &LockStatus, head: &str, cell: Cell) -> Cell {
    match head {
        "NAME" => cell.fg(Color::Cyan),
        "STATUS" if lock.granted => cell.fg(Color::Green),
        "STATUS" | "BLOCKED BY" => cell.fg(Color::Yellow),
        "STATE" if lock.granted && lock.state.as_deref() == Some("idle in transaction") => {
            cell.fg(Color::Red)
        }
        _ => cell,
    }
}

/// Held or waited for, and for how long: of a holder, for as long as its transaction has been open.
pub(crate) fn status(lock: &LockStatus) -> String {
    let verb = if lock.granted { "held" } else { "waits" };
    match lock.since {
        Some(since) => format!("{verb} {}", age(since)),
        None => verb.to_owned(),
    }
}

/// What the session calls itself, without what it says of its lock.
pub(crate) fn application(lock: &LockStatus) -> Option<String> {
    let application = lock.application.as_deref()?;
    let own = match lock.tag() {
        Some(_) => application
            .rsplit_once("advisory:")
            .map_or("", |(own, _)| own),
        None => application,
    };
    Some(own.trim_end().to_owned()).filter(|own| !own.is_empty())
}

/// What the session does, and for how long; what it waits for, if that is not this lock.
pub(crate) fn state(lock: &LockStatus) -> Option<String> {
    if let Some(prepared) = &lock.prepared {
        return Some(format!("prepared transaction '{prepared}'"));
    }
    let mut state = lock.state.clone()?;
    let elsewhere = lock.wait_event.as_deref();
    let elsewhere = elsewhere.filter(|event| lock.granted && event.starts_with("Lock: "));
    if let Some(event) = elsewhere {
        state = format!("{state}, waits for {}", event.trim_start_matches("Lock: "));
    }
    Some(match lock.state_since {
        Some(since) => format!("{state} {}", age(since)),
        None => state,
    })
}

fn blocked_by(lock: &LockStatus) -> Option<String> {
    let pids = lock.blocked_by.iter().map(|pid| match pid {
        0 => "prepared".to_owned(),
        pid => pid.to_string(),
    });
    Some(pids.collect::<Vec<_>>().join(", ")).filter(|pids| !pids.is_empty())
}

/// On one line.
fn query(lock: &LockStatus, _: Option<&Name>) -> Option<String> {
    let words: Vec<_> = lock.query.as_deref()?.split_whitespace().collect();
    Some(words.join(" ")).filter(|query| !query.is_empty())
}

/// At most so many characters, none of which moves the cursor.
fn cut(text: &str, most: usize) -> String {
    let text = text.replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}
