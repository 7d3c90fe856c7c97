//! Cancels a message that still waits for an advisory lock.

/// The message after a statement by which [`cancel`] finds its backend. The marker is a literal and
/// not a comment: `pg_stat_statements` replaces literals, and would have an entry for each comment.
pub(crate) fn with_marker(marker: &str, message: &str) -> String {
    format!("{};{message}", mark(marker))
}

fn mark(marker: &str) -> String {
    format!("SELECT WHERE '{marker}' IS NULL")
}

/// Cancels the message with this marker, if it waits for an advisory lock, or pauses before it
/// looks for a free slot again. There is a row if it was found.
pub(crate) fn cancel(marker: &str) -> String {
    let mark = mark(marker).replace('\'', "''");
    format!(
        "SELECT pg_catalog.pg_cancel_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
         WHERE pg_catalog.starts_with(a.query,'{mark}') AND a.state OPERATOR(pg_catalog.=) 'active' \
         AND a.wait_event OPERATOR(pg_catalog.=) ANY('{{advisory,PgSleep}}'::pg_catalog.text[])"
    )
}
