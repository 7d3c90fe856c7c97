//! Cancels a message that still waits for an advisory lock.

/// The message behind a comment by which [`cancel`] finds its backend.
pub(crate) fn with_marker(marker: &str, message: &str) -> String {
    format!("/* {marker} */{message}")
}

/// Cancels the message with this marker, if it waits for an advisory lock. There is a row if it was
/// found.
pub(crate) fn cancel(marker: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_cancel_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
         WHERE pg_catalog.starts_with(a.query,'/* {marker} */') AND a.state OPERATOR(pg_catalog.=) 'active' \
         AND a.wait_event OPERATOR(pg_catalog.=) 'advisory'"
    )
}
