//! The `advisory` command: who holds PostgreSQL advisory locks, who waits for them, and commands that run under them.

mod arguments;
mod exit;
mod output;
mod scheme;
mod server;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::exit::Failure;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let _server = arguments.server;
    match arguments.command {}
}
