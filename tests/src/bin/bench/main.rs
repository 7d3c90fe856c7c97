//! What a lock costs, measured beside its rivals, in turns, on a server of its own: ratios of one run.
//!
//! ```sh
//! cargo run --release -p advisory-tests --bin bench                       # everything; about ten minutes
//! cargo run --release -p advisory-tests --bin bench -- --only transaction # one row that you do not believe
//! cargo run --release -p advisory-tests --bin bench -- --write            # and docs/PERFORMANCE.md anew
//! ```

mod by_hand;
mod case;
mod contest;
mod machine;
mod memory;
mod one_core;
mod page;
mod pgbench;
mod place;
mod plot;
mod rate;
mod report;
mod sample;
mod trips;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use advisory_tests::Server;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::case::Case;
use crate::report::{Report, of_targets};

/// Measures what locks cost, beside everything else that takes them.
#[derive(Parser)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
struct Command {
    /// Measures this case alone; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = case::parse)]
    only: Vec<&'static Case>,
    /// Names the cases.
    #[arg(long)]
    list: bool,
    /// Writes docs/PERFORMANCE.md and its plots. All figures of a page are of one run, so all cases are measured.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Takes a quarter of the time, for figures that are less certain.
    #[arg(long)]
    quick: bool,
    /// Runs everything a few times only, to see that it works; the figures mean nothing.
    #[arg(long, conflicts_with_all = ["quick", "write"])]
    smoke: bool,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often everybody has a turn.
    pub(crate) rounds: usize,
    /// About how long a turn takes.
    pub(crate) block: Duration,
    /// How often something is done in a turn at least.
    pub(crate) least: usize,
    /// How often it is done before.
    pub(crate) warm_up: usize,
    pub(crate) is_smoke: bool,
}

impl Effort {
    const FULL: Self = Self {
        rounds: 25,
        block: Duration::from_millis(40),
        least: 3,
        warm_up: 20,
        is_smoke: false,
    };

    fn of(command: &Command) -> Self {
        match command {
            Command { smoke: true, .. } => Self {
                rounds: 2,
                block: Duration::ZERO,
                least: 2,
                warm_up: 2,
                is_smoke: true,
            },
            Command { quick: true, .. } => Self {
                rounds: 6,
                ..Self::FULL
            },
            Command { .. } => Self::FULL,
        }
    }

    /// Some part of what is usual, where one look takes long.
    pub(crate) fn fewer_rounds(self, part: usize) -> usize {
        (self.rounds / part).max(2)
    }
}

/// What every case is given.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) effort: Effort,
    bar: ProgressBar,
}

impl Bench {
    /// Says what is being done.
    pub(crate) fn say(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Says something that stays.
    pub(crate) fn tell(&self, what: &str) {
        self.bar.suspend(|| eprintln!("bench: {what}"));
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    if command.list {
        for case in case::ALL {
            println!("{case}");
        }
        return ExitCode::SUCCESS;
    }
    match run(&command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: &Command) -> Result<(), String> {
    let server = tokio::task::spawn_blocking(Server::start).await;
    let server = server.expect("BUG: starting a server does not panic");
    let cases = case::chosen(&command.only);
    let bench = Arc::new(Bench {
        server: server.map_err(|error| error.to_string())?,
        effort: Effort::of(command),
        bar: bar(cases.len()),
    });
    let machine = machine::describe(&bench.server);
    println!("On {machine}.\n");
    let mut all = Report::default();
    for case in cases {
        // In a task, as in a server: what `main` itself awaits is woken from another thread.
        let report = tokio::spawn((case.run)(Arc::clone(&bench))).await;
        let report = report.map_err(|error| format!("{}: {error}", case.name))?;
        bench.bar.inc(1);
        bench.bar.suspend(|| print(case, &report));
        all.parts.extend(report.parts);
        all.plots.extend(report.plots);
        all.targets.extend(report.targets);
    }
    bench.bar.finish_and_clear();
    let targets = of_targets(&all.targets).to_string();
    println!("## Must reach\n\n{targets}");
    if command.write {
        let mut parts = vec![
            ("machine".to_owned(), format!("Measured on {machine}.")),
            ("targets".to_owned(), targets),
        ];
        parts.extend(
            all.parts
                .iter()
                .map(|part| (part.name.to_owned(), part.to_string())),
        );
        page::write(&parts, &all.plots)?;
    }
    Ok(())
}

fn bar(cases: usize) -> ProgressBar {
    let bar = ProgressBar::new(cases as u64);
    let style = "{elapsed} [{wide_bar}] {pos}/{len} {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("BUG: a template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn print(case: &Case, report: &Report) {
    println!("## {}\n", case.about);
    for part in &report.parts {
        println!("{part}\n");
    }
}
