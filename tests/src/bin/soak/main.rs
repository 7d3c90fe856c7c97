//! Locks under chaos: hundreds of tasks in several processes take locks in every way there is, while sessions are ended,
//! connections cut, processes killed and the server restarted. In the end nobody has held a lock together with somebody else,
//! nothing is left locked, and every pool is whole.
//!
//! ```sh
//! cargo run --release -p advisory-tests --bin soak -- --minutes 10
//! ```
//!
//! Mutual exclusion is judged by the database itself. Each holder reads a number, pauses, writes the next one and a row of a
//! journal whose key is that number, all in the transaction that holds the lock, or on the session that does: a second holder
//! would read the same number, and collide.

mod chaos;
mod check;
mod fleet;
mod plan;
mod schema;
mod stay;
mod tally;
mod way;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Takes locks in every way there is while everything around them fails, and checks that nothing leaks and nobody overlaps.
#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Role {
    /// One of the processes; started by the soak itself.
    #[command(hide = true)]
    Worker(worker::Settings),
}

/// How long, and how many.
#[derive(Args, Clone)]
struct Soak {
    /// How long it takes, in minutes; fractions are allowed.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// How many processes there are.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    processes: u16,
    /// How many tasks each process runs.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tasks: u16,
    /// How many connections the pool of each process has.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=40))]
    connections: u32,
    /// How many keys there are to fight for.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i32).range(3..=1000))]
    keys: i32,
}

impl Soak {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text
        .parse()
        .ok()
        .filter(|minutes| (0.05..=1440.0).contains(minutes));
    minutes.ok_or_else(|| "expected a number of minutes from 0.05 to 1440".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    match command.role {
        Some(Role::Worker(settings)) => {
            worker::run(settings).await;
            ExitCode::SUCCESS
        }
        None => fleet::run(command.soak).await,
    }
}
