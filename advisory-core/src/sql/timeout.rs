//! `lock_timeout` for the length of one wait.
//!
//! The previous value of the setting is restored as the text that `current_setting` reports: it
//! prints as `1min`, which is not parsed, and `RESET` would lose what the user has `SET`.

use std::time::Duration;

use crate::lock::Wait;

/// A wait for one key; an expression.
pub(super) fn with_timeout(call: &str, wait: Wait) -> String {
    let Some(limit) = lock_timeout(wait) else {
        return call.to_owned();
    };
    // Arguments are evaluated from left to right: the first reads the previous value; the last sets
    // the new one, waits, and is true, which restores the previous value until the end of the
    // transaction.
    format!(
        "pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('lock_timeout'),\
         pg_catalog.set_config('lock_timeout','{}',true) IS NOT NULL AND {call} IS NOT NULL)",
        milliseconds(limit)
    )
}

/// The parts of a message that go around a wait for several keys.
#[derive(Default)]
pub(super) struct Timeout {
    /// Keeps the previous value in a setting of our own; an item of a target list, which begins
    /// with a comma.
    pub(super) save: &'static str,
    /// Sets the timeout before each lock; an expression. The timeout of the server is that of one
    /// lock, so the time that has passed is subtracted, which keeps all locks to one deadline.
    pub(super) set: Option<String>,
    /// Restores the previous value; an item of a target list, which begins with a comma.
    pub(super) restore: &'static str,
}

const SAVE: &str = ",pg_catalog.set_config('advisory.lock_timeout',pg_catalog.current_setting('lock_timeout'),true)";
const RESTORE: &str = ",pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('advisory.lock_timeout'),true)";

impl Timeout {
    pub(super) fn of(wait: Wait) -> Self {
        let Some(limit) = lock_timeout(wait) else {
            return Self::default();
        };
        let left = match limit {
            Duration::ZERO => "'0'".to_owned(),
            limit => remaining(limit),
        };
        Self {
            save: SAVE,
            set: Some(format!("pg_catalog.set_config('lock_timeout',{left},true)")),
            restore: RESTORE,
        }
    }
}

/// The `lock_timeout` to set; `None` to leave it alone. Zero switches it off.
pub(super) fn lock_timeout(wait: Wait) -> Option<Duration> {
    match wait {
        Wait::Server | Wait::No => None,
        Wait::For(limit) => Some(limit),
        Wait::Forever => Some(Duration::ZERO),
    }
}

fn remaining(limit: Duration) -> String {
    format!(
        "GREATEST(1,{} OPERATOR(pg_catalog.-) \
         (1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() \
         OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()))::pg_catalog.int4)::pg_catalog.text",
        milliseconds(limit)
    )
}

/// Rounded up, so that a wait is never shorter than requested.
pub(super) fn milliseconds(limit: Duration) -> u128 {
    limit.as_micros().div_ceil(1000)
}
