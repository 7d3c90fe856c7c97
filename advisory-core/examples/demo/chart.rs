//! Draws timelines as rows of text.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::palette::Palette;
use crate::scenario::{Run, Scenario};
use crate::timeline::{Ending, State, Timeline};

/// The width of the chart in columns, for a terminal of 80 columns.
const WIDTH: usize = 80;
/// The width of a worker's name in columns.
const NAME: usize = 12;
/// The width of the time axis in columns.
const BAR: usize = 44;

/// Draws scenarios with the colours of a palette.
pub(crate) struct Chart {
    palette: Palette,
}

impl Chart {
    pub(crate) fn new(palette: Palette) -> Self {
        Self { palette }
    }

    /// Explains the symbols of the chart.
    pub(crate) fn legend(&self) -> String {
        let states = [
            (State::Holding, "holds the lock"),
            (State::Sharing, "shares the lock"),
            (State::Waiting, "waits"),
            (State::Unlocked, "works, no lock"),
        ];
        let endings = [
            Ending::Done("done".into()),
            Ending::Failed("failed".into()),
            Ending::Skipped("skipped".into()),
        ];
        let states = states.map(|(state, meaning)| format!("{} {meaning}", self.segment(state, 3)));
        let endings = endings.map(|ending| self.ending(&ending));
        format!(
            "\n  {}\n  {}   each row is a worker, time runs to the right",
            states.join("   "),
            endings.join("   ")
        )
    }

    /// Draws a scenario: its title, its description, and its two runs on one time scale.
    pub(crate) fn scenario(&self, number: usize, scenario: &Scenario) -> String {
        let longest = scenario.runs.iter().map(Run::length).max();
        let scale = Scale(longest.unwrap_or_default());
        let title = format!("━━ {number} {} ", scenario.title);
        let mut text = format!("\n{}\n", self.palette.bold(format!("{title:━<WIDTH$}")));
        for line in scenario.description {
            let _ = writeln!(text, "  {line}");
        }
        for run in &scenario.runs {
            text.push_str(&self.run(run, &scale));
        }
        text
    }

    fn run(&self, run: &Run, scale: &Scale) -> String {
        let mut text = format!("\n  {}\n", self.palette.bold(run.heading));
        for timeline in &run.timelines {
            let _ = writeln!(text, "{}", self.row(timeline, run.start(), scale));
        }
        let axis = self.palette.dim(scale.axis());
        let _ = writeln!(text, "  {:NAME$}{axis}", "");
        let _ = writeln!(text, "  → {}", run.conclusion);
        text
    }

    fn row(&self, timeline: &Timeline, origin: Instant, scale: &Scale) -> String {
        let cells = cells(timeline, origin, scale);
        let mut bar = String::new();
        for segment in cells.chunk_by(|a, b| a == b) {
            match segment[0] {
                Some(state) => bar.push_str(&self.segment(state, segment.len())),
                None => bar.push_str(&" ".repeat(segment.len())),
            }
        }
        format!(
            "  {:NAME$}{bar} {}",
            timeline.name,
            self.ending(&timeline.ending)
        )
    }

    fn segment(&self, state: State, length: usize) -> String {
        let symbol = match state {
            State::Unlocked => "▒",
            State::Waiting => "·",
            State::Sharing => "▄",
            State::Holding => "▇",
        };
        self.palette.state(state, symbol.repeat(length))
    }

    fn ending(&self, ending: &Ending) -> String {
        let (symbol, note) = match ending {
            Ending::Done(note) => ("✓", note),
            Ending::Failed(note) => ("✗", note),
            Ending::Skipped(note) => ("↷", note),
        };
        format!("{} {note}", self.palette.ending(ending, symbol))
    }
}

/// Returns the state of the worker in each column, up to its end. A state that lasted less than
/// half a column is drawn as the state that followed.
fn cells(timeline: &Timeline, origin: Instant, scale: &Scale) -> Vec<Option<State>> {
    let mut cells = Vec::new();
    let mut changes = timeline.changes.iter().peekable();
    let mut merged_from = None;
    while let Some((since, state)) = changes.next() {
        let from = merged_from.take().unwrap_or(*since);
        let to = changes.peek().map_or(timeline.ended, |next| next.0);
        let is_last = changes.peek().is_none();
        if !is_last && scale.column((to - from) * 2) == 0 {
            merged_from = Some(from);
            continue;
        }
        let from = scale.column(from - origin).min(BAR - 1);
        let to = scale.column(to - origin).max(from + 1);
        cells.truncate(from);
        cells.resize(from, None);
        cells.resize(to, Some(*state));
    }
    cells
}

/// The duration that the full width of the time axis stands for.
struct Scale(Duration);

impl Scale {
    fn column(&self, at: Duration) -> usize {
        let columns = at.as_micros() * BAR as u128 / self.0.as_micros().max(1);
        usize::try_from(columns).map_or(BAR, |column| column.min(BAR))
    }

    /// Returns the labels of the time axis, such as `0    100    200 ms`.
    fn axis(&self) -> String {
        let steps = [10, 20, 50, 100, 200, 500, 1000, 2000];
        let step = steps.into_iter().find(|step| self.0.as_millis() / step < 5);
        let mut axis = String::from("0");
        for tick in (1..5).map(|n| n * step.unwrap_or(5000)) {
            let at =
                Duration::from_millis(u64::try_from(tick).expect("BUG: a tick is at most 20000"));
            if at <= self.0 {
                axis = format!("{axis:width$}{tick}", width = self.column(at));
            }
        }
        axis + " ms"
    }
}

impl Run {
    /// When the first worker started.
    fn start(&self) -> Instant {
        let starts = self
            .timelines
            .iter()
            .filter_map(|timeline| timeline.changes.first());
        starts
            .map(|(start, _)| *start)
            .min()
            .expect("BUG: a run has timelines")
    }

    /// The time from the start of the first worker to the end of the last.
    fn length(&self) -> Duration {
        let ends = self.timelines.iter().map(|timeline| timeline.ended);
        ends.max().map_or(Duration::ZERO, |end| end - self.start())
    }
}
