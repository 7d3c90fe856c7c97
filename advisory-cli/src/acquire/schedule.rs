//! `run --every` and `run --at-least`: how often a command runs.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, PeriodicLock, Periods, SessionGuard};
use clap::Args;
use tokio::time::sleep_until;

use super::signals::Signals;
use crate::duration::{self, parse_offset, parse_period};
use crate::exit::Failure;

/// How often the command runs.
#[derive(Args, Clone)]
pub(super) struct Schedule {
    /// Run the command at most once in each period by the server's clock, on any machine, at any
    /// time: `1d`, `1h30m`, `15s` (`w`, `d`, `h`, `m`, `s`). If it has succeeded in this period,
    /// exit with 0 at once. A command that fails leaves the period to the next attempt. Periods of
    /// days begin at midnight UTC, those of weeks on Mondays. Needs a table: `advisory setup`.
    #[arg(long, value_name = "PERIOD", value_parser = parse_period, conflicts_with = "permits")]
    every: Option<Duration>,
    /// Begin the periods of `--every` so much later: `3h30m`.
    #[arg(long, value_name = "TIME", value_parser = parse_offset, requires = "every")]
    offset: Option<Duration>,
    /// The table with the marks of `--every`, if `advisory setup` was given another name.
    #[arg(long, value_name = "NAME", requires = "every")]
    table: Option<String>,
    /// The schema of that table. If not given, the `search_path` decides.
    #[arg(long, value_name = "NAME", requires = "every")]
    schema: Option<String>,
    /// Keep the lock for this long after it was acquired, also if the command ends earlier; then
    /// exit. Two machines whose clocks differ by less run a short command once. A signal ends the
    /// rest of the time, and the exit code is the command's. A SIGHUP while the command runs does
    /// not, because many commands reload on SIGHUP.
    #[arg(long, value_name = "SECONDS", value_parser = duration::parse_timeout, allow_negative_numbers = true)]
    at_least: Option<Duration>,
}

/// One run of the command.
pub(super) struct Turn {
    keep_until: Option<Instant>,
    /// The period, and the fencing token of this run.
    period: Option<(PeriodicLock, i64)>,
}

impl Schedule {
    /// Begins a run under the lock. `None` if the period is done.
    pub(super) async fn begin(&self, guard: &mut SessionGuard) -> Result<Option<Turn>, Failure> {
        let keep_until = self
            .at_least
            .and_then(|time| Instant::now().checked_add(time));
        let mut turn = Turn {
            keep_until,
            period: None,
        };
        if let Some(every) = self.every {
            let periodic = AdvisoryLock::from(guard.lock_id()).every(every);
            let periodic = periodic.offset(self.offset.unwrap_or_default());
            let periodic = periodic.periods(&self.periods());
            match periodic.begin_run(guard).await? {
                Some(fence) => turn.period = Some((periodic, fence)),
                None => return Ok(None),
            }
        }
        Ok(Some(turn))
    }

    fn periods(&self) -> Periods {
        let table = self.table.as_ref();
        let periods = table.map_or_else(Periods::default, Periods::in_table);
        match &self.schema {
            Some(schema) => periods.schema(schema),
            None => periods,
        }
    }
}

impl Turn {
    /// The fencing token of the run, if there is one.
    pub(super) fn fence(&self) -> Option<i64> {
        self.period.as_ref().map(|(_, fence)| *fence)
    }

    /// Marks the period if the command has succeeded, and keeps the lock for as long as it is to be
    /// held, or until a signal.
    pub(super) async fn end(
        self,
        guard: &mut SessionGuard,
        result: &Result<ExitStatus, Failure>,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        if let (Some((periodic, fence)), Ok(status)) = (self.period, result)
            && status.success()
        {
            periodic.finish_run(guard, fence).await?;
        }
        if let Some(until) = self.keep_until {
            let kept = async {
                tokio::select! {
                    () = sleep_until(until.into()) => {}
                    () = signals.asked_to_end() => {}
                }
            };
            // A loss shows when the lock is released.
            let _ = guard.until_lost(kept).await;
        }
        Ok(())
    }
}
