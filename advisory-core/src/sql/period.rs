//! The table with the marks of jobs that run once per period, and its statements.
//!
//! The time is the server's, at the moment of the statement and not of the transaction, which may
//! have begun before a long wait for the lock.

use std::time::Duration;

use crate::lock::LockId;

/// Where the periods begin to count: a Monday, at midnight UTC.
const ORIGIN: &str = "2001-01-01 00:00:00+00";

/// Which period of which job.
pub(crate) struct Job<'a> {
    /// The table, quoted.
    pub(crate) table: &'a str,
    pub(crate) lock: &'a LockId,
    pub(crate) stride: Duration,
    pub(crate) offset: Duration,
}

/// The table of this quoted name; a statement.
pub(crate) fn create(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (key pg_catalog.text PRIMARY KEY, name pg_catalog.text, \
         period pg_catalog.timestamptz NOT NULL DEFAULT '-infinity', done_at pg_catalog.timestamptz, \
         attempt pg_catalog.timestamptz, fence pg_catalog.int8)"
    )
}

/// Marks the period as done, unless it is marked. A row if it was not.
pub(crate) fn claim(job: &Job<'_>) -> String {
    let (table, now) = (job.table, job.now());
    format!(
        "INSERT INTO {table} AS p (key,name,period,done_at) SELECT {},{},n.period,n.now FROM {now} \
         ON CONFLICT (key) DO UPDATE SET name=EXCLUDED.name,period=EXCLUDED.period,\
         done_at=EXCLUDED.done_at,attempt=NULL,fence=NULL \
         WHERE p.period OPERATOR(pg_catalog.<) EXCLUDED.period RETURNING true",
        job.key(),
        job.name()
    )
}

/// Begins an attempt to do the job with this fencing token, unless its period is marked as done, or
/// an attempt with a greater token has begun in the period: the lock of this one is lost then. A row
/// if it has begun.
pub(crate) fn begin(job: &Job<'_>, fence: i64) -> String {
    let (table, now) = (job.table, job.now());
    format!(
        "INSERT INTO {table} AS p (key,name,attempt,fence) SELECT {},{},n.period,'{fence}' FROM {now} \
         ON CONFLICT (key) DO UPDATE SET name=EXCLUDED.name,attempt=EXCLUDED.attempt,fence=EXCLUDED.fence \
         WHERE p.period OPERATOR(pg_catalog.<) EXCLUDED.attempt AND (p.fence IS NULL \
         OR p.fence OPERATOR(pg_catalog.<) EXCLUDED.fence OR p.attempt OPERATOR(pg_catalog.<) EXCLUDED.attempt) RETURNING true",
        job.key(),
        job.name()
    )
}

/// Marks the period of an attempt as done, unless another attempt has begun since. A row if it has
/// not.
pub(crate) fn finish(job: &Job<'_>, fence: i64) -> String {
    format!(
        "UPDATE {} AS p SET period=p.attempt,done_at=pg_catalog.clock_timestamp(),attempt=NULL,fence=NULL \
         WHERE p.key OPERATOR(pg_catalog.=) {} AND p.fence OPERATOR(pg_catalog.=) '{fence}' RETURNING true",
        job.table,
        job.key()
    )
}

impl Job<'_> {
    /// The time and the period that it is in; an item of `FROM`.
    fn now(&self) -> String {
        let (stride, offset) = (interval(self.stride), interval(self.offset));
        format!(
            "(SELECT t.now,pg_catalog.date_bin('{stride}',t.now,\
             '{ORIGIN}'::pg_catalog.timestamptz OPERATOR(pg_catalog.+) '{offset}'::pg_catalog.interval) AS period \
             FROM (SELECT pg_catalog.clock_timestamp() AS now) AS t) AS n"
        )
    }

    /// The lock's keys, which are frozen; a literal.
    fn key(&self) -> String {
        let keys: Vec<_> = self.lock.keys().iter().map(ToString::to_string).collect();
        literal(&keys.join(", "))
    }

    /// The lock's name, for people; a literal.
    fn name(&self) -> String {
        self.lock.name().map_or_else(|| "NULL".to_owned(), literal)
    }
}

/// An interval as text. It has no days, whose length depends on the time zone, and no number that
/// PostgreSQL 14 refuses, where each fits into 32 bits.
fn interval(length: Duration) -> String {
    let (seconds, microseconds) = (length.as_secs(), length.subsec_micros());
    let (hours, seconds) = (seconds / 3600, seconds % 3600);
    format!("{hours} hours {seconds} seconds {microseconds} microseconds")
}

/// A literal that means the same whatever the settings and the encoding of the server are.
fn literal(text: &str) -> String {
    let ascii = |char: char| match char {
        '\'' => "''".to_owned(),
        // Twice: the escape is in the text.
        ' '..='~' if char != '\\' => char.to_string(),
        char => char.escape_default().to_string().replace('\\', "\\\\"),
    };
    format!("E'{}'", text.chars().map(ascii).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_numbers_of_32_bits() {
        let longest = interval(crate::time_bounds::LONGEST_PERIOD);
        assert_eq!(longest, "876000 hours 0 seconds 0 microseconds");
        let odd = Duration::new(3599, 999_999_000);
        assert_eq!(interval(odd), "0 hours 3599 seconds 999999 microseconds");
    }

    #[test]
    fn a_literal_is_ascii_and_cannot_be_left() {
        assert_eq!(literal("it's"), "E'it''s'");
        assert_eq!(literal("\\'"), "E'\\\\\\\\'''");
        assert_eq!(literal("東\0"), "E'\\\\u{6771}\\\\u{0}'");
    }
}
