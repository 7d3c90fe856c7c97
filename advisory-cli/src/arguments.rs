//! The command line, and the subcommand that each variant runs.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::acquire::{DieWithParent, Hold, Lead, Run};
use crate::bench::Bench;
use crate::doctor::Doctor;
use crate::exit::{EXIT_CODES, Failure};
use crate::inspect::{Ls, Tree};
use crate::key::KeyArgs;
use crate::output;
use crate::server::Server;
use crate::setup::Setup;
use crate::signal_backend::{Action, SignalBackend};

/// See who holds PostgreSQL advisory locks and who waits for them, and run commands under them.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Tree(Tree),
    Key(KeyArgs),
    Run(Run),
    Lead(Lead),
    Hold(Hold),
    #[command(hide = true)]
    DieWithParent(DieWithParent),
    /// Check whether a connection is fit for advisory locks.
    Doctor(Doctor),
    Setup(Setup),
    /// Measure round trips and locks per second on a server.
    Bench(Bench),
    /// Cancel statements: a wait for a lock ends with an error. Asks for confirmation.
    Cancel(SignalBackend),
    /// Terminate sessions, which frees all of their locks. Asks for confirmation.
    Terminate(SignalBackend),
    /// Print a script that completes this command in a shell.
    Completions(Completions),
}

impl Arguments {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let server = &self.server;
        match self.command {
            Command::Ls(args) => args.run(server).await,
            Command::Tree(args) => args.run(server).await,
            Command::Key(args) => args.run(),
            Command::Run(args) => args.run(server).await,
            Command::Lead(args) => args.run(server).await,
            Command::Hold(args) => args.run(server).await,
            Command::DieWithParent(args) => Err(args.run()),
            Command::Doctor(args) => args.run(server).await,
            Command::Setup(args) => args.run(server).await,
            Command::Bench(args) => args.run(server).await,
            Command::Cancel(args) => args.run(server, Action::Cancel).await,
            Command::Terminate(args) => args.run(server, Action::Terminate).await,
            Command::Completions(args) => args.run(),
        }
    }
}

#[derive(Args)]
struct Completions {
    /// The shell: `advisory completions bash > /etc/bash_completion.d/advisory`.
    shell: Shell,
}

impl Completions {
    fn run(&self) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        let mut command = Arguments::command();
        clap_complete::generate(self.shell, &mut command, "advisory", &mut script);
        output::print_line(String::from_utf8_lossy(&script).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
