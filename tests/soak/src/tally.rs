//! Counting the outcomes of attempts and disruptions.

use std::collections::{BTreeMap, BTreeSet};

use advisory_core::{Error, UnsupportedReason};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::critical_section::Failure;

/// The names of the tallies of a process in its output.
pub(crate) const ATTEMPTS: &str = "count";
pub(crate) const CHANGES: &str = "changes";

/// How often each verb or disruption has had each outcome.
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

    /// How often it has had this outcome.
    pub(crate) fn count(&self, what: &str, end: &str) -> u64 {
        let key = (what.to_owned(), end.to_owned());
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// The counts as text, one on each line, which begins with the name of the tally.
    pub(crate) fn lines(&self, name: &str) -> impl Iterator<Item = String> {
        let counts = self.0.iter();
        counts.map(move |((what, end), count)| format!("{name}\t{what}\t{end}\t{count}"))
    }

    /// Adds a count from one of [`lines`](Self::lines). Returns `None` for any other text.
    pub(crate) fn read(&mut self, name: &str, line: &str) -> Option<()> {
        let mut parts = line.strip_prefix(name)?.strip_prefix('\t')?.split('\t');
        let (what, end) = (parts.next()?, parts.next()?);
        self.add(&what, &end, parts.next()?.parse().ok()?);
        Some(())
    }

    /// A table with a row for each verb or disruption and a column for each outcome.
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

/// A short name for the outcome of an attempt.
pub(crate) fn outcome_name(outcome: &Result<bool, Failure>) -> String {
    match outcome {
        Ok(true) => "held".into(),
        Ok(false) | Err(Failure::Lock(Error::NotAcquired { .. })) => "not acquired".into(),
        Err(Failure::Lock(Error::Deadlock { .. })) => "deadlock".into(),
        Err(Failure::Lock(Error::Lost { .. })) => "lost".into(),
        Err(Failure::Lock(Error::Database(error)) | Failure::Sql(error)) => error_name(error),
        Err(Failure::Fenced) => "fenced off".into(),
        Err(Failure::Lock(Error::Unsupported { reason, .. })) => match reason {
            // The connection is in a transaction, because another task has dropped a `begin` of
            // sqlx before it returned.
            UnsupportedReason::UntrackedTransaction => "in a transaction".into(),
            UnsupportedReason::HeldByTransaction => "no session known".into(),
            UnsupportedReason::Standby => "a standby".into(),
            reason => reason.to_string(),
        },
        Err(error @ (Failure::Lock(_) | Failure::Overlap(_))) => error.to_string(),
    }
}

/// A short name for the errors that disruptions cause. Any other error is shown unchanged.
fn error_name(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("57014") => "cancelled".into(),
            Some("25P02") => "aborted".into(),
            Some(code) if code.starts_with("57P") => "ended".into(),
            // The timeout of a wait that another task has dropped. sqlx reports its error to the
            // next statement on the connection.
            Some("55P03") => "another's timeout".into(),
            code => format!("{}: {}", code.unwrap_or("?"), error.message()),
        },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => "cut off".into(),
        sqlx::Error::PoolTimedOut => "no connection".into(),
        other => other.to_string(),
    }
}
