//! `lock_timeout` for the length of one wait.
//!
//! The text of the setting that was there before is carried over: it prints as `1min`, which nobody should parse, and `RESET` would
//! lose what the user has `SET`.

use std::time::Duration;

use crate::wait::Wait;

/// A wait for one key; an expression.
pub(super) fn limited(call: &str, wait: Wait) -> String {
    let Some(limit) = setting(wait) else {
        return call.to_owned();
    };
    // Arguments are evaluated from the left to the right: what the setting is; what it is to be meanwhile, and the wait; and it is put
    // back, until the end of the transaction, because the last argument is true.
    format!(
        "pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('lock_timeout'),\
         pg_catalog.set_config('lock_timeout','{}',true) IS NOT NULL AND {call} IS NOT NULL)",
        milliseconds(limit)
    )
}

/// What goes around a wait for several keys.
#[derive(Default)]
pub(super) struct Timeout {
    /// Keeps the setting in one of our own; an item of a target list, which begins with a comma.
    pub(super) save: &'static str,
    /// What the setting is to be before each lock; an expression. The server counts anew for every lock: what has been waited already
    /// is taken off, which keeps several to the one deadline.
    pub(super) set: Option<String>,
    /// Puts the setting back; an item of a target list, which begins with a comma.
    pub(super) restore: &'static str,
}

const SAVE: &str = ",pg_catalog.set_config('advisory.lock_timeout',pg_catalog.current_setting('lock_timeout'),true)";
const RESTORE: &str = ",pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('advisory.lock_timeout'),true)";

impl Timeout {
    pub(super) fn of(wait: Wait) -> Self {
        let Some(limit) = setting(wait) else {
            return Self::default();
        };
        let left = match limit {
            Duration::ZERO => "'0'".to_owned(),
            limit => left(limit),
        };
        Self {
            save: SAVE,
            set: Some(format!("pg_catalog.set_config('lock_timeout',{left},true)")),
            restore: RESTORE,
        }
    }
}

/// What `lock_timeout` is to be, if not what it is. Zero switches it off.
fn setting(wait: Wait) -> Option<Duration> {
    match wait {
        Wait::Server | Wait::No => None,
        Wait::For(limit) => Some(limit),
        Wait::Forever => Some(Duration::ZERO),
    }
}

fn left(limit: Duration) -> String {
    format!(
        "GREATEST(1,{} OPERATOR(pg_catalog.-) \
         (1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() \
         OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()))::pg_catalog.int4)::pg_catalog.text",
        milliseconds(limit)
    )
}

/// Rounded up, so that a wait is never shorter than was asked for.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_micros().div_ceil(1000)
}
