//! Draws lanes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::lane::{Ending, Lane, State};
use crate::palette::Palette;
use crate::scene::{Act, Scene};

/// Columns of the whole drawing: it fits the narrowest terminal in use.
const PAGE: usize = 80;
/// Columns of a worker's name.
const NAME: usize = 12;
/// Columns of the time.
const BAR: usize = 44;

/// Draws in some colours, or in none.
pub(crate) struct Chart {
    palette: Palette,
}

impl Chart {
    pub(crate) fn new(palette: Palette) -> Self {
        Self { palette }
    }

    /// What the signs mean.
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
        let states = states.map(|(state, meaning)| format!("{} {meaning}", self.run(state, 3)));
        let endings = endings.map(|ending| self.ending(&ending));
        format!(
            "\n  {}\n  {}   one lane is one worker, time runs to the right",
            states.join("   "),
            endings.join("   ")
        )
    }

    /// A scene: what it is about, and its two acts on one scale.
    pub(crate) fn scene(&self, number: usize, scene: &Scene) -> String {
        let longest = scene.acts.iter().map(Act::length).max();
        let scale = Scale(longest.unwrap_or_default());
        let title = format!("━━ {number} {} ", scene.title);
        let mut text = format!("\n{}\n", self.palette.bold(format!("{title:━<PAGE$}")));
        for line in scene.story {
            let _ = writeln!(text, "  {line}");
        }
        for act in &scene.acts {
            text.push_str(&self.act(act, &scale));
        }
        text
    }

    fn act(&self, act: &Act, scale: &Scale) -> String {
        let mut text = format!("\n  {}\n", self.palette.bold(act.heading));
        for lane in &act.lanes {
            let _ = writeln!(text, "{}", self.lane(lane, act.start(), scale));
        }
        let axis = self.palette.dim(scale.axis());
        let _ = writeln!(text, "  {:NAME$}{axis}", "");
        let _ = writeln!(text, "  → {}", act.moral);
        text
    }

    fn lane(&self, lane: &Lane, origin: Instant, scale: &Scale) -> String {
        let cells = cells(lane, origin, scale);
        let mut bar = String::new();
        for run in cells.chunk_by(|a, b| a == b) {
            match run[0] {
                Some(state) => bar.push_str(&self.run(state, run.len())),
                None => bar.push_str(&" ".repeat(run.len())),
            }
        }
        format!("  {:NAME$}{bar} {}", lane.name, self.ending(&lane.ending))
    }

    fn run(&self, state: State, length: usize) -> String {
        let sign = match state {
            State::Unlocked => "▒",
            State::Waiting => "·",
            State::Sharing => "▄",
            State::Holding => "▇",
        };
        self.palette.state(state, sign.repeat(length))
    }

    fn ending(&self, ending: &Ending) -> String {
        let (sign, note) = match ending {
            Ending::Done(note) => ("✓", note),
            Ending::Failed(note) => ("✗", note),
            Ending::Skipped(note) => ("↷", note),
        };
        format!("{} {note}", self.palette.ending(ending, sign))
    }
}

/// What the worker did in each column, up to its end. What was over in less than half a column
/// gives way to what came next.
fn cells(lane: &Lane, origin: Instant, scale: &Scale) -> Vec<Option<State>> {
    let mut cells = Vec::new();
    let mut changes = lane.changes.iter().peekable();
    let mut given_way = None;
    while let Some((since, state)) = changes.next() {
        let from = given_way.take().unwrap_or(*since);
        let to = changes.peek().map_or(lane.ended, |next| next.0);
        let is_last = changes.peek().is_none();
        if !is_last && scale.column((to - from) * 2) == 0 {
            given_way = Some(from);
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

/// The time that is as long as a bar.
struct Scale(Duration);

impl Scale {
    fn column(&self, at: Duration) -> usize {
        let columns = at.as_micros() * BAR as u128 / self.0.as_micros().max(1);
        usize::try_from(columns).map_or(BAR, |column| column.min(BAR))
    }

    /// `0    100    200 ms`
    fn axis(&self) -> String {
        let steps = [10, 20, 50, 100, 200, 500, 1000, 2000];
        let step = steps.into_iter().find(|step| self.0.as_millis() / step < 5);
        let mut axis = String::from("0");
        for tick in (1..5).map(|n| n * step.unwrap_or(5000)) {
            let at = Duration::from_millis(u64::try_from(tick).expect("BUG: a tick is short"));
            if at <= self.0 {
                axis = format!("{axis:width$}{tick}", width = self.column(at));
            }
        }
        axis + " ms"
    }
}

impl Act {
    /// When the first worker began.
    fn start(&self) -> Instant {
        let starts = self.lanes.iter().filter_map(|lane| lane.changes.first());
        starts
            .map(|(start, _)| *start)
            .min()
            .expect("BUG: an act has lanes")
    }

    /// Until the last worker's end.
    fn length(&self) -> Duration {
        let ends = self.lanes.iter().map(|lane| lane.ended);
        ends.max().map_or(Duration::ZERO, |end| end - self.start())
    }
}
