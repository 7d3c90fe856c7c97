//! Measures what a lock costs, compared with other ways to take it, on a private server.
//!
//! The workloads of a case run in rotation, and their figures are compared as ratios of one run.
//!
//! ```sh
//! cargo run --release -p advisory-bench                        # all cases; about ten minutes
//! cargo run --release -p advisory-bench -- --only transaction  # one case
//! cargo run --release -p advisory-bench -- --write             # all cases, and writes docs/PERFORMANCE.md
//! ```

mod by_hand;
mod case;
mod comparison;
mod endpoint;
mod machine;
mod memory;
mod one_core;
mod page;
mod pgbench;
mod plot;
mod rate;
mod report;
mod round_trips;
mod sample;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use advisory_tests::Server;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::block_in_place;

use crate::case::Case;
use crate::report::{Report, missed, of_targets, wrapped};

/// Measures what locks cost, compared with other ways to take them.
#[derive(Parser)]
struct Command {
    /// Measures this case only; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Vec<String>,
    /// Lists the cases.
    #[arg(long)]
    list: bool,
    /// Writes docs/PERFORMANCE.md and its plots. All figures of the page are of one run, so all
    /// cases are measured.
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Runs each workload a few times, to check that it works; the figures mean nothing.
    #[arg(long, conflicts_with = "write")]
    smoke: bool,
    /// Waits for locks in this process, as the case `lock_session` asks, and measures nothing else.
    #[arg(long, hide = true, num_args = 4)]
    wait: Vec<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(case::ALL.iter().map(|case| case.name))
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// The number of rounds. Each workload runs one block in a round.
    pub(crate) rounds: usize,
    /// The approximate duration of a block.
    pub(crate) block: Duration,
    /// The minimum number of runs in a block.
    pub(crate) least: usize,
    /// The number of runs before the measurement.
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

    const SMOKE: Self = Self {
        rounds: 2,
        block: Duration::ZERO,
        least: 2,
        warm_up: 2,
        is_smoke: true,
    };

    /// The value for a measurement, or for a smoke run.
    pub(crate) fn unless_smoke<T>(self, full: T, smoke: T) -> T {
        if self.is_smoke { smoke } else { full }
    }

    /// The sizes that are measured; in a smoke run only the first two at most.
    pub(crate) fn sizes<T>(self, all: &[T]) -> &[T] {
        let few = all.get(..2).filter(|_| self.is_smoke);
        few.unwrap_or(all)
    }

    /// The number of rounds divided by `divisor`, for cases whose blocks take long.
    pub(crate) fn fewer_rounds(self, divisor: usize) -> usize {
        (self.rounds / divisor).max(2)
    }
}

/// The context of every case.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) effort: Effort,
    bar: ProgressBar,
}

impl Bench {
    /// Shows in the progress bar what is being measured.
    pub(crate) fn set_progress(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Prints a message above the progress bar.
    pub(crate) fn notice(&self, what: &str) {
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
    if let [how, waiters, seconds, url] = command.wait.as_slice() {
        let measured = case::wait_in_this_process(how, waiters, seconds, url).await;
        println!("{}", serde_json::json!(measured));
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
    let server = block_in_place(Server::start);
    let cases = case::chosen(&command.only);
    let bench = Arc::new(Bench {
        server: server.map_err(|error| error.to_string())?,
        effort: if command.smoke {
            Effort::SMOKE
        } else {
            Effort::FULL
        },
        bar: bar(cases.len()),
    });
    let machine = machine::describe(&bench.server);
    println!("On {machine}.\n");
    let mut all = Report::default();
    for case in cases {
        // A case runs in a task, as code of a server does. The future of `main` would be woken from
        // another thread.
        let report = tokio::spawn((case.run)(Arc::clone(&bench))).await;
        let report = report.map_err(|error| format!("{}: {error}", case.name))?;
        bench.bar.inc(1);
        bench.bar.suspend(|| print(case, &report));
        all.add(report);
    }
    bench.bar.finish_and_clear();
    println!("## Must reach\n\n{}", of_targets(&all.targets));
    if command.write {
        let mut parts = vec![
            (
                "machine".to_owned(),
                wrapped(&format!("Measured on {machine}.")),
            ),
            ("targets".to_owned(), missed(&all.targets)),
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
