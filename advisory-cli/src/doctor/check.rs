//! The result of a check, and how results are printed.

use std::fmt::Display;

use comfy_table::{Cell, Color};
use serde::Serialize;

use crate::exit::{Failure, describe};
use crate::output;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pass,
    Warn,
    Fail,
}

/// A row of the output, or an object of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    pub(super) status: Status,
    pub(super) found: String,
    /// What to do about it. `None` if the check passes.
    pub(super) advice: Option<String>,
}

impl Check {
    pub(super) fn pass(name: &'static str, found: impl Display) -> Self {
        Self {
            name,
            status: Status::Pass,
            found: found.to_string(),
            advice: None,
        }
    }

    pub(super) fn warn(name: &'static str, found: impl Display, advice: impl Display) -> Self {
        Self {
            status: Status::Warn,
            advice: Some(advice.to_string()),
            ..Self::pass(name, found)
        }
    }

    pub(super) fn fail(name: &'static str, found: impl Display, advice: impl Display) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, found, advice)
        }
    }

    /// The statement of the check failed, which says nothing about locks.
    pub(super) fn unknown(name: &'static str, error: &sqlx::Error) -> Self {
        let found = format!("cannot tell: {}", describe(error));
        Self::warn(name, found, "is this PostgreSQL, 14 or later?")
    }
}

pub(super) fn print(checks: &[Check]) -> Result<(), Failure> {
    let mut table = output::new_table();
    for check in checks {
        let found = match &check.advice {
            Some(advice) => format!("{}\n→ {advice}", check.found),
            None => check.found.clone(),
        };
        let status = match check.status {
            Status::Pass => Cell::new("✓ pass").fg(Color::Green),
            Status::Warn => Cell::new("! warn").fg(Color::Yellow),
            Status::Fail => Cell::new("✗ fail").fg(Color::Red),
        };
        table.add_row([status, Cell::new(check.name), Cell::new(found)]);
    }
    output::print_table(&table)?;
    output::print_line(format!("\n{}", summary(checks)))
}

fn summary(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let plural = |count| if count == 1 { "" } else { "s" };
    match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => "fit for advisory locks".to_owned(),
        (0, n) => format!("fit for advisory locks, with {n} warning{}", plural(n)),
        (faults, n) => format!(
            "not fit for every advisory lock: {faults} fault{}, {n} warning{}",
            plural(faults),
            plural(n)
        ),
    }
}
