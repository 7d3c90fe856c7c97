//! The doctor's lines.

use comfy_table::{Cell, Color};

use super::check::{Check, Status};
use crate::exit::Failure;
use crate::output;

pub(super) fn print(checks: &[Check]) -> Result<(), Failure> {
    let mut table = output::table();
    for check in checks {
        let found = match &check.advice {
            Some(advice) => format!("{}\n→ {advice}", check.found),
            None => check.found.clone(),
        };
        table.add_row([
            status(check.status),
            Cell::new(check.name),
            Cell::new(found),
        ]);
    }
    for line in table.lines() {
        output::line(line.trim_end())?;
    }
    output::line(format!("\n{}", summary(checks)))
}

fn status(status: Status) -> Cell {
    match status {
        Status::Pass => Cell::new("✓ pass").fg(Color::Green),
        Status::Warn => Cell::new("! warn").fg(Color::Yellow),
        Status::Fail => Cell::new("✗ fail").fg(Color::Red),
    }
}

fn summary(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let counted = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => "fit for advisory locks".to_owned(),
        (0, warnings) => format!(
            "fit for advisory locks, with {}",
            counted(warnings, "warning")
        ),
        (faults, warnings) => format!(
            "not fit for every advisory lock: {}, {}",
            counted(faults, "fault"),
            counted(warnings, "warning")
        ),
    }
}
