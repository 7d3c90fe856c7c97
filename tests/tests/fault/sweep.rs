//! Running a scenario with a cut after one message, after two, and so on.

use std::sync::Arc;
use std::time::Duration;

use advisory_tests::{Cut, Side};

use crate::fixture::Fixture;
use crate::runner::{Runner, Violation};
use crate::scenario::Scenario;

#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    pub(crate) scenario: &'static Scenario,
    pub(crate) cut: Cut,
    pub(crate) side: Side,
    /// The message of the first cut, and the step from one cut to the next.
    first: usize,
    step: usize,
}

/// The result of a sweep.
#[derive(Clone)]
pub(crate) struct SweepResult {
    pub(crate) sweep: Sweep,
    /// The number of cuts.
    pub(crate) points: usize,
    pub(crate) longest: Duration,
    pub(crate) violation: Option<Violation>,
}

impl Sweep {
    pub(crate) fn new(scenario: &'static Scenario, cut: Cut, side: Side) -> Self {
        Self {
            scenario,
            cut,
            side,
            first: 1,
            step: 1,
        }
    }

    /// Divides this sweep into `step` sweeps.
    pub(crate) fn divided_by(self, step: usize) -> impl Iterator<Item = Self> {
        (1..=step).map(move |first| self.starting_at(first, step))
    }

    /// A part of this sweep: the cuts after every `step`th message, from a random one on.
    pub(crate) fn sample(self, step: usize) -> Self {
        self.starting_at(fastrand::usize(1..=step), step)
    }

    fn starting_at(self, first: usize, step: usize) -> Self {
        Self {
            first,
            step,
            ..self
        }
    }

    /// Runs until there is no message left to cut after, or until the first violation.
    pub(crate) async fn run(mut self, fixture: Arc<Fixture>) -> SweepResult {
        let Self {
            scenario,
            cut,
            side,
            ..
        } = self;
        let fixture = Fixture::of(scenario, fixture).await;
        let mut runner = Runner::new(scenario, &fixture, cut == Cut::Silence).await;
        let mut points = 0;
        let violation = loop {
            let n = self.first + points * self.step;
            match runner.run(|proxy| proxy.cut_after(side, n, cut)).await {
                Ok(true) => points += 1,
                // The scenario has fewer messages. It is cut once at least.
                Ok(false) if n > 1 && points == 0 => self.first = 1,
                Ok(false) => break None,
                Err((kind, what)) => {
                    let name = &scenario.name;
                    let what = format!("{name}, {cut:?} after message {n} of the {side:?}: {what}");
                    break Some((kind, what));
                }
            }
        };
        SweepResult {
            sweep: self,
            points,
            longest: runner.longest(),
            violation,
        }
    }
}
