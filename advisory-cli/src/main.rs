//! The `advisory` command: see who holds PostgreSQL advisory locks and who waits for them, and run
//! commands under them.

mod acquire;
mod arguments;
mod bench;
mod doctor;
mod duration;
mod exit;
mod explain;
mod group;
mod inspect;
mod key;
mod lock_status;
mod logged_key;
mod names;
mod output;
mod random_key;
mod role;
mod scheme_name;
mod server;
mod setup;
mod signal_backend;
mod slot;
mod sql;
mod target;
mod transient;

use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::exit::Failure;
use crate::role::Role;

fn main() -> ExitCode {
    if Role::of_this_process() == Role::DieWithParent {
        return acquire::die_with_parent().report();
    }
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::other(error).report(),
    };
    let result = runtime.block_on(arguments.run());
    // A name lookup cannot be interrupted, and dropping the runtime would wait for it.
    runtime.shutdown_background();
    result.unwrap_or_else(|failure| failure.report())
}
