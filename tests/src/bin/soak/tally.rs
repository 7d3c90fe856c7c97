//! What has come of it all, counted.

use std::collections::{BTreeMap, BTreeSet};

use advisory_core::Error;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::stay::Failure;

/// How often each thing has come to each end.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<(String, String), u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: &impl ToString, end: &impl ToString, count: u64) {
        *self
            .0
            .entry((what.to_string(), end.to_string()))
            .or_default() += count;
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(crate) fn total(&self, wanted: &str) -> u64 {
        let ends = self.0.iter().filter(|((_, end), _)| end == wanted);
        ends.map(|(_, count)| count).sum()
    }

    /// One line for each count.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let counts = self.0.iter();
        counts.map(|((what, end), count)| format!("count\t{what}\t{end}\t{count}"))
    }

    /// Takes in one of [`lines`](Self::lines).
    pub(crate) fn read(&mut self, line: &str) -> Option<()> {
        let mut parts = line.strip_prefix("count\t")?.split('\t');
        let (what, end) = (parts.next()?, parts.next()?);
        self.add(&what, &end, parts.next()?.parse().ok()?);
        Some(())
    }

    /// A row for each thing, a column for each end.
    pub(crate) fn table(&self, what: &str) -> Table {
        let ends: BTreeSet<_> = self.0.keys().map(|(_, end)| end).collect();
        let things: BTreeSet<_> = self.0.keys().map(|(thing, _)| thing).collect();
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(std::iter::once(what).chain(ends.iter().map(|end| end.as_str())));
        for thing in things {
            let count = |end: &&String| {
                let key = (thing.clone(), (*end).clone());
                self.0.get(&key).map_or(String::new(), u64::to_string)
            };
            table.add_row(std::iter::once(thing.clone()).chain(ends.iter().map(count)));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

/// The end of a stay, in a word or two.
pub(crate) fn end(outcome: &Result<bool, Failure>) -> String {
    match outcome {
        Ok(true) => "held".into(),
        Ok(false) | Err(Failure::Lock(Error::NotAcquired { .. })) => "not acquired".into(),
        Err(Failure::Lock(Error::Deadlock { .. })) => "deadlock".into(),
        Err(Failure::Lock(Error::Lost { .. })) => "lost".into(),
        Err(Failure::Lock(Error::Database(error)) | Failure::Sql(error)) => end_by_error(error),
        Err(Failure::Fenced) => "fenced off".into(),
        // A connection of the pool on which another task has given up a `begin` of sqlx's half-way.
        Err(Failure::Lock(Error::Unsupported { .. })) => "in a transaction".into(),
        Err(error @ (Failure::Lock(_) | Failure::Overlap(_))) => error.to_string(),
    }
}

/// What chaos does shows in a few kinds of errors; any other is shown as it is.
fn end_by_error(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(said) => match said.code().as_deref() {
            Some("57014") => "cancelled".into(),
            Some("25P02") => "aborted".into(),
            Some(code) if code.starts_with("57P") => "ended".into(),
            // Of a wait that another task has given up: sqlx gives its end to the next statement on the connection.
            Some("55P03") => "another's timeout".into(),
            code => format!("{}: {}", code.unwrap_or("?"), said.message()),
        },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => "cut off".into(),
        sqlx::Error::PoolTimedOut => "no connection".into(),
        other => other.to_string(),
    }
}
