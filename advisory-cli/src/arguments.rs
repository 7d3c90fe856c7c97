//! What may be said on the command line.

use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::completions::Completions;
use crate::doctor::Doctor;
use crate::end::Sessions;
use crate::exit::EXIT_CODES;
use crate::server::Server;

/// See who holds PostgreSQL advisory locks and who waits for them, and run commands under them.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One variant, one room.
#[derive(Subcommand)]
pub(crate) enum Command {
    Ls(crate::ls::Ls),
    Tree(crate::tree::Tree),
    Key(crate::key::KeyArgs),
    Run(crate::run::Run),
    Hold(crate::hold::Hold),
    #[command(hide = true)]
    Launch(crate::run::Launch),
    /// Is this connection fit for advisory locks?
    Doctor(Doctor),
    /// Measure round trips and locks per second against this server.
    Bench(Bench),
    /// Cancel what sessions do: their wait for a lock ends with an error. Asks first.
    Cancel(Sessions),
    /// End sessions: all of their locks are free. Asks first.
    Terminate(Sessions),
    /// Print a script that completes this command in a shell.
    Completions(Completions),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn every_argument_is_well_made() {
        Arguments::command().debug_assert();
    }
}
