//! A soak test: locks under chaos.
//!
//! Hundreds of tasks in several processes take locks with every verb, while sessions are
//! terminated, connections cut, processes stopped and killed, the server restarted and its standby
//! promoted. At the end, no two sessions have held a lock at the same time, no lock is left, and
//! every connection of every pool works.
//!
//! ```sh
//! cargo run --release -p advisory-soak -- --minutes 10 --history history.jsonl
//! cargo run --release -p advisory-soak -- check history.jsonl
//! ```
//!
//! The history of all calls is given to the checker of `advisory-history`, at the end of a run or
//! by the second command.
//!
//! The database detects two holders at once. Each holder reads a number, pauses, and writes the
//! next number and a row of a journal whose key is that number, in the transaction or the session
//! that holds the lock. A second holder would read the same number, and its row would violate the
//! unique key. Of a lock with several permits, each slot has such a number.
//!
//! | module | what it is for |
//! |---|---|
//! | `fleet` | starts and ends the worker processes |
//! | `disruption`, `chaos` | what can fail; disrupts the server, the network and the processes |
//! | `worker` | one process with its tasks |
//! | `plan` | what a task does next |
//! | `layout` | which keys there are |
//! | `critical_section` | takes a lock with each verb, and what runs under it |
//! | `update` | takes a session lock, and changes a number beside it: lost updates |
//! | `client` | records what a task does in the history |
//! | `seeded` | clients with a fault, which the checks must find |
//! | `schema` | the tables and statements |
//! | `tally`, `table` | counts the outcomes; the tables of the report |
//! | `judge` | the verdict on a history |
//! | `leak` | what sessions still hold after their last call |
//! | `check` | the checks and the report at the end |

mod chaos;
mod check;
mod client;
mod critical_section;
mod disruption;
mod fleet;
mod judge;
mod layout;
mod leak;
mod plan;
mod schema;
mod seeded;
mod table;
mod tally;
mod update;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Takes locks with every verb while sessions, connections, processes and the server fail. Checks
/// that no lock leaks, and that no two sessions hold a lock at the same time.
#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    soak: Soak,
}

#[derive(Subcommand)]
enum Role {
    /// Runs one of the processes; started by the soak test itself.
    #[command(hide = true)]
    Worker(worker::Settings),
    /// Says for each key of a history whether it is linearizable. The exit code is 0 if all are,
    /// 1 if one is not, and 2 if the history cannot be read or one key cannot be decided.
    Check {
        /// A history, as `--history` writes it.
        file: PathBuf,
    },
}

/// The duration and the size of the test.
#[derive(Args, Clone)]
struct Soak {
    /// The duration in minutes; fractions are allowed.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// The number of processes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    processes: u16,
    /// The number of tasks of each process.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tasks: u16,
    /// The number of connections of each process's pool.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=40))]
    connections: u32,
    /// The number of keys that the tasks compete for.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i32).range(3..=1000))]
    keys: i32,
    /// Writes the history of all calls to this file, and checks it at the end.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Makes nothing fail.
    #[arg(long)]
    without_faults: bool,
    /// Gives a quarter of the calls one of these faults, which the checks must find.
    #[arg(long, hide = true)]
    seeded: Vec<seeded::Seeded>,
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
        Some(Role::Check { file }) => judge::check_file(&file),
        None => fleet::run(command.soak).await,
    }
}
