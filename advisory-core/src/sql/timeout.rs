//! `lock_timeout` for the length of one wait.

use std::time::Duration;

use crate::wait::Wait;

/// What goes around a wait: items of a target list.
#[derive(Default)]
pub(super) struct Timeout {
    /// Replaces the setting, and ends with a comma.
    pub(super) set: String,
    /// Takes off what has been waited already, and ends with a comma. The server counts anew for every lock; this keeps several
    /// to the one deadline.
    pub(super) left: String,
    /// Puts the setting back, and begins with a comma.
    pub(super) restore: &'static str,
}

/// The text of the setting is carried over in one of our own: it prints as `1min`, which nobody should parse, and `RESET` would
/// lose what the user has `SET`.
const SAVE: &str = "pg_catalog.set_config('advisory.lock_timeout',pg_catalog.current_setting('lock_timeout'),true)";
const RESTORE: &str = ",pg_catalog.set_config('lock_timeout',pg_catalog.current_setting('advisory.lock_timeout'),true)";

impl Timeout {
    pub(super) fn of(wait: Wait) -> Self {
        match wait {
            Wait::Server | Wait::No => Self::default(),
            Wait::For(limit) => Self {
                left: left(limit),
                ..Self::set(limit)
            },
            // Zero switches it off.
            Wait::Forever => Self::set(Duration::ZERO),
        }
    }

    fn set(limit: Duration) -> Self {
        let milliseconds = milliseconds(limit);
        let set = format!("{SAVE},pg_catalog.set_config('lock_timeout','{milliseconds}',true),");
        Self {
            set,
            left: String::new(),
            restore: RESTORE,
        }
    }
}

fn left(limit: Duration) -> String {
    format!(
        "pg_catalog.set_config('lock_timeout',GREATEST(1,{} OPERATOR(pg_catalog.-) \
         (1000 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() \
         OPERATOR(pg_catalog.-) pg_catalog.statement_timestamp()))::pg_catalog.int4)::pg_catalog.text,true),",
        milliseconds(limit)
    )
}

/// Rounded up, so that a wait is never shorter than was asked for.
fn milliseconds(limit: Duration) -> u128 {
    limit.as_micros().div_ceil(1000)
}
