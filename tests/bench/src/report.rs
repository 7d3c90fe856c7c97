//! The report of a case: tables, notes, plots and targets.

use std::fmt;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table as Grid};

use crate::comparison::Workload;
use crate::plot::{Plot, without_zeros};
use crate::sample::{Nanoseconds, Sample, three_digits};

/// The report of one or all cases.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) parts: Vec<Part>,
    pub(crate) plots: Vec<Plot>,
    pub(crate) targets: Vec<Target>,
}

impl Report {
    /// Appends another report.
    pub(crate) fn add(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.plots.extend(other.plots);
        self.targets.extend(other.targets);
    }
}

/// The maximum length of a line of prose.
const LINE_LENGTH: usize = 100;

/// Breaks a paragraph into lines of at most [`LINE_LENGTH`] characters.
pub(crate) fn wrapped(paragraph: &str) -> String {
    let mut text = String::new();
    let mut length = 0;
    for word in paragraph.split_whitespace() {
        let added = word.chars().count();
        if length > 0 {
            let fits = length + 1 + added <= LINE_LENGTH;
            text.push(if fits { ' ' } else { '\n' });
            length = if fits { length + 1 } else { 0 };
        }
        text.push_str(word);
        length += added;
    }
    text
}

/// A table with notes, which is written between two marks of the page.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) table: Table,
    pub(crate) notes: Vec<String>,
}

impl Part {
    pub(crate) fn new(name: &'static str, table: Table) -> Self {
        Self {
            name,
            table,
            notes: Vec::new(),
        }
    }

    /// A part without a table.
    pub(crate) fn text(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Table::default()).note(text)
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// A report of this part, with its targets.
    pub(crate) fn with_targets(self, targets: Vec<Target>) -> Report {
        Report {
            targets,
            ..self.into()
        }
    }
}

impl From<Part> for Report {
    fn from(part: Part) -> Self {
        Self {
            parts: vec![part],
            ..Self::default()
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = (!self.table.rows.is_empty()).then(|| self.table.to_string());
        let notes = self.notes.iter().map(|note| wrapped(note));
        let paragraphs: Vec<_> = table.into_iter().chain(notes).collect();
        f.write_str(&paragraphs.join("\n\n"))
    }
}

/// A table of text, with all columns but the first aligned to the right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<H: Into<String>>(header: impl IntoIterator<Item = H>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<C: Into<String>>(&mut self, row: impl IntoIterator<Item = C>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// The durations and round trips of workloads.
    pub(crate) fn of_comparison(
        workloads: &[Workload],
        samples: &[Sample],
        round_trips: &[Option<f64>],
    ) -> Self {
        let mut table = Self::new(["workload", "median", "round trips", "relative speed"]);
        for (index, workload) in workloads.iter().enumerate() {
            table.row([
                workload.name.clone(),
                Nanoseconds(samples[index].median()).to_string(),
                round_trips[index].map_or(String::new(), format_round_trips),
                relative_speed(workloads, samples, index),
            ]);
        }
        table
    }

    /// The same, on all cores of the machine and, where it was measured, on one.
    pub(crate) fn on_all_cores_and_one(
        workloads: &[Workload],
        [all, one]: [&[Sample]; 2],
        round_trips: &[Option<f64>],
    ) -> Self {
        let mut table = Self::new([
            "workload",
            "round trips",
            "median",
            "relative speed",
            "median, one core",
            "relative speed, one core",
        ]);
        for (index, workload) in workloads.iter().enumerate() {
            let [median, median_on_one] = [all, one].map(|samples| {
                let sample = samples.get(index);
                sample.map_or(String::new(), |sample| {
                    Nanoseconds(sample.median()).to_string()
                })
            });
            table.row([
                workload.name.clone(),
                round_trips[index].map_or(String::new(), format_round_trips),
                median,
                relative_speed(workloads, all, index),
                median_on_one,
                relative_speed(workloads, one, index),
            ]);
        }
        table
    }
}

/// How many times as fast as its rival a workload is.
fn relative_speed(workloads: &[Workload], samples: &[Sample], index: usize) -> String {
    let (Some(rival), Some(sample)) = (workloads[index].rival, samples.get(index)) else {
        return String::new();
    };
    let ratio = three_digits(samples[rival].ratio_to(sample));
    format!("{ratio} × {}", workloads[rival].name)
}

/// The number of round trips, with a decimal only if it is not an integer.
pub(crate) fn format_round_trips(round_trips: f64) -> String {
    let text = format!("{round_trips:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new();
        grid.load_style(ASCII_MARKDOWN);
        grid.set_header(&self.header);
        for row in &self.rows {
            grid.add_row(row);
        }
        for column in grid.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{grid}")
    }
}

/// A target that the figures must reach.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) is_reached: bool,
}

impl Target {
    /// A ratio of at least `wanted`.
    pub(crate) fn at_least(what: impl Into<String>, wanted: f64, measured: f64) -> Self {
        Self {
            what: what.into(),
            wanted: format!("at least {} ×", three_digits(wanted)),
            measured: format!("{} ×", three_digits(measured)),
            is_reached: measured >= wanted,
        }
    }

    /// A count of exactly `wanted`.
    pub(crate) fn exactly(what: impl Into<String>, wanted: f64, measured: f64) -> Self {
        Self {
            what: what.into(),
            wanted: format_round_trips(wanted),
            measured: format_round_trips(measured),
            is_reached: (measured - wanted).abs() < 0.05,
        }
    }

    /// A figure of at most `limit`.
    pub(crate) fn at_most(what: impl Into<String>, limit: f64, measured: f64, unit: &str) -> Self {
        let figure = |value: f64| format!("{}{unit}", without_zeros(&three_digits(value)));
        Self {
            what: what.into(),
            wanted: format!("at most {}", figure(limit)),
            measured: figure(measured),
            is_reached: measured <= limit,
        }
    }

    /// No row is slower than the row it is compared with. The smallest ratio decides.
    pub(crate) fn never_slower(what: impl Into<String>, ratios: &[(String, f64)]) -> Self {
        let least = ratios.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let (row, least) = least.expect("BUG: no ratios");
        Self {
            what: what.into(),
            wanted: "at least 1.00 × in every row".to_owned(),
            measured: format!("{} × ({row})", three_digits(*least)),
            // The ratio is rounded to the two decimals that are printed.
            is_reached: *least >= 0.995,
        }
    }
}

/// How many targets are reached, and a list of the others.
pub(crate) fn missed(targets: &[Target]) -> String {
    let missed = targets.iter().filter(|target| !target.is_reached);
    let lines: Vec<_> = missed
        .map(|target| {
            let (what, measured, wanted) = (&target.what, &target.measured, &target.wanted);
            wrapped(&format!("- {what}: {measured} ({wanted})")).replace('\n', "\n  ")
        })
        .collect();
    let reached = targets.len() - lines.len();
    let summary = format!("{reached} of {} targets are reached. Not:", targets.len());
    format!("{summary}\n\n{}", lines.join("\n"))
}

/// A table of targets.
pub(crate) fn of_targets<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Table {
    let mut table = Table::new(["target", "required", "measured", "reached"]);
    for target in targets {
        let reached = if target.is_reached { "yes" } else { "**no**" };
        let Target {
            what,
            wanted,
            measured,
            ..
        } = target;
        table.row([what.as_str(), wanted, measured, reached]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_markdown_with_numbers_on_the_right() {
        let mut table = Table::new(["what", "median"]);
        table.row(["ours", "9.10 µs"]);
        table.row(["theirs", "21.0 µs"]);
        let expected = "| what   |  median |\n|--------|---------|\n| ours   | 9.10 µs |\n| theirs | 21.0 µs |";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn part_ends_with_its_notes() {
        let mut table = Table::new(["a"]);
        table.row(["b"]);
        let part = Part::new("x", table).note("one").note("two");
        assert!(part.to_string().ends_with("|\n\none\n\ntwo"), "{part}");
        assert_eq!(Part::text("x", "one").to_string(), "one");
    }

    #[test]
    fn paragraph_is_broken_into_lines() {
        let words = ["µ".repeat(60), "b".repeat(39), "c".to_owned()];
        let expected = format!("{} {}\n{}", words[0], words[1], words[2]);
        assert_eq!(wrapped(&words.join(" ")), expected);
        assert_eq!(wrapped(""), "");
        assert_eq!(wrapped(&"d".repeat(101)), "d".repeat(101));
    }

    #[test]
    fn integral_round_trips_have_no_decimal() {
        assert_eq!(format_round_trips(2.0), "2");
        assert_eq!(format_round_trips(2.5), "2.5");
    }

    #[test]
    fn slowest_row_decides() {
        let ratios = [("a".to_owned(), 1.4), ("b".to_owned(), 0.9)];
        let target = Target::never_slower("local", &ratios);
        assert!(!target.is_reached);
        assert_eq!(target.measured, "0.90 × (b)");
        assert!(Target::at_least("x", 1.2, 1.2).is_reached);
        let target = Target::at_most("x", 4.0, 5.5, " ms");
        assert_eq!(
            (&*target.wanted, &*target.measured),
            ("at most 4 ms", "5.50 ms")
        );
        assert!(!target.is_reached);
        assert!(!Target::exactly("x", 1.0, 2.0).is_reached);
    }
}
