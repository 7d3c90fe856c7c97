//! Counting the outcomes of attempts and disruptions.

use std::collections::{BTreeMap, BTreeSet};

use advisory_core::{Error, UnsupportedReason};
use comfy_table::Table;

use crate::critical_section::Failure;
use crate::table;

/// The names of the tallies of a process in its output.
pub(crate) const ATTEMPTS: &str = "count";
pub(crate) const CHANGES: &str = "changes";

/// The outcome of an attempt that reached a standby before its promotion was over.
const STANDBY: &str = "a standby";

/// The violations that are counted by their kind. The text of a violation begins with its kind.
pub(crate) const OVERLAP: &str = "overlap";
pub(crate) const LEAK: &str = "leak";
pub(crate) const UNEXPECTED: &str = "unexpected error";

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

    /// How many verbs have never had this outcome.
    pub(crate) fn without(&self, wanted: &str) -> usize {
        let verbs: BTreeSet<_> = self.0.keys().map(|(verb, _)| verb).collect();
        let is_without = |verb: &&String| self.count(verb, wanted) == 0;
        verbs.into_iter().filter(is_without).count()
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
        let header = std::iter::once(what).chain(ends.iter().map(|end| end.as_str()));
        let mut table = table::new(header);
        for thing in things {
            let count = |end: &&String| {
                let key = (thing.clone(), (*end).clone());
                self.0.get(&key).map_or(String::new(), u64::to_string)
            };
            table.add_row(std::iter::once(thing.clone()).chain(ends.iter().map(count)));
        }
        table::align(&mut table, 1..ends.len() + 1);
        table
    }
}

/// A short name for the outcome of an attempt. [`UNEXPECTED`] is an error that no disruption
/// explains.
pub(crate) fn outcome_name(outcome: &Result<bool, Failure>) -> &'static str {
    match outcome {
        Ok(true) => "held",
        Ok(false) | Err(Failure::Lock(Error::NotAcquired { .. })) => "not acquired",
        Err(Failure::Lock(Error::Lost { .. })) => "lost",
        Err(Failure::Lock(Error::Database(error)) | Failure::Sql(error)) => error_name(error),
        Err(Failure::Fenced) => "fenced off",
        Err(Failure::Lock(Error::Unsupported { reason, .. })) => match reason {
            // The connection is in a transaction, because another task has dropped a `begin` of
            // sqlx before it returned.
            UnsupportedReason::UntrackedTransaction => "in a transaction",
            UnsupportedReason::HeldByTransaction => "no session known",
            UnsupportedReason::Standby => STANDBY,
            _ => UNEXPECTED,
        },
        Err(Failure::Overlap(_)) => OVERLAP,
        Err(Failure::Lock(_)) => UNEXPECTED,
    }
}

fn error_name(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("57014") => "cancelled",
            Some("25P02") => "aborted",
            // A read-only transaction.
            Some("25006") => STANDBY,
            Some(code) if code.starts_with("57P") => "ended",
            // The timeout of a wait that another task has dropped. sqlx reports its error to the
            // next statement on the connection.
            Some("55P03") => "another's timeout",
            _ => UNEXPECTED,
        },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => "cut off",
        sqlx::Error::PoolTimedOut => "no connection",
        _ => UNEXPECTED,
    }
}
