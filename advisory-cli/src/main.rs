//! The `advisory` command: who holds PostgreSQL advisory locks, who waits for them, and commands that run under them.

mod acquisition;
mod age;
mod arguments;
mod bench;
mod chance;
mod completions;
mod decode;
mod doctor;
mod end;
mod exit;
mod hold;
mod key;
mod listing;
mod ls;
mod names;
mod output;
mod record;
mod run;
mod scheme;
mod seconds;
mod server;
mod signal;
mod sql;
mod target;
mod terminal;
mod tree;
mod view;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::runtime::Runtime;

use crate::arguments::{Arguments, Command};
use crate::end::How;
use crate::exit::{Code, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(Code::Failure, error).report(),
    };
    let outcome = runtime.block_on(run(arguments));
    // The lookup of a name cannot be interrupted, and would be waited for.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| failure.report())
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let server = &arguments.server;
    match arguments.command {
        Command::Ls(args) => ls::ls(server, args).await,
        Command::Tree(args) => tree::tree(server, args).await,
        Command::Key(args) => key::key(&args),
        Command::Run(options) => run::run(&options, server).await,
        Command::Hold(options) => hold::hold(&options, server).await,
        Command::Launch(launch) => Err(run::launch(&launch)),
        Command::Doctor(doctor) => doctor.run(server).await,
        Command::Bench(bench) => bench.run(server).await,
        Command::Cancel(sessions) => sessions.run(server, How::Cancel).await,
        Command::Terminate(sessions) => sessions.run(server, How::Terminate).await,
        Command::Completions(completions) => completions.run(),
    }
}
