//! The `advisory` command: see who holds PostgreSQL advisory locks and who waits for them, and run
//! commands under them.

mod acquire;
mod arguments;
mod bench;
mod doctor;
mod duration;
mod exit;
mod group;
mod inspect;
mod key;
mod lock_status;
mod names;
mod output;
mod period;
mod random_key;
mod server;
mod setup;
mod signal_backend;
mod sql;
mod target;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::exit::Failure;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other(error).report(),
    };
    let result = runtime.block_on(arguments.run());
    // A name lookup cannot be interrupted, and dropping the runtime would wait for it.
    runtime.shutdown_background();
    result.unwrap_or_else(|failure| failure.report())
}
