//! The command line, and the subcommand that each variant runs.

use std::ffi::OsString;
use std::io::Write as _;
use std::iter;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::acquire::{Hold, Lead, Run};
use crate::bench::Bench;
use crate::doctor::Doctor;
use crate::exit::{Code, EXIT_CODES, Failure};
use crate::explain::Explain;
use crate::inspect::{Ls, Tree};
use crate::key::KeyArgs;
use crate::output;
use crate::role;
use crate::server::Server;
use crate::setup::Setup;
use crate::signal_backend::{Action, SignalBackend};

/// See who holds PostgreSQL advisory locks and who waits for them, and run commands under them.
#[derive(Parser)]
#[command(
    name = "advisory",
    version,
    after_help = EXIT_CODES,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES_OF_CANCEL: &str = "\
Examples:
  advisory cancel 4711
  Every session that waits for this lock:
    advisory cancel --name export";

const EXAMPLES_OF_TERMINATE: &str = "\
Examples:
  advisory terminate 4711
  The session that holds the lock of a Prisma migration that hangs, with the name that `advisory ls` shows:
    advisory terminate --name 'Prisma Migrate'";

#[derive(Subcommand)]
enum Command {
    Ls(Ls),
    Tree(Tree),
    Explain(Explain),
    Key(KeyArgs),
    Run(Run),
    Lead(Lead),
    Hold(Hold),
    /// Check whether a connection is fit for advisory locks.
    Doctor(Doctor),
    Setup(Setup),
    /// Measure round trips and locks per second on a server.
    Bench(Bench),
    /// Cancel statements: a wait for a lock ends with an error. Asks for confirmation.
    #[command(
        after_help = EXAMPLES_OF_CANCEL,
        override_usage = "advisory cancel [OPTIONS] <PID|--name <NAME>>"
    )]
    Cancel(SignalBackend),
    /// Terminate sessions, which frees all of their locks. Asks for confirmation.
    #[command(
        after_help = EXAMPLES_OF_TERMINATE,
        override_usage = "advisory terminate [OPTIONS] <PID|--name <NAME>>"
    )]
    Terminate(SignalBackend),
    /// Print a script that completes this command in a shell.
    Completions(Completions),
}

impl Arguments {
    /// Reads the command line. Otherwise it has printed help or an error, and the exit code is
    /// returned.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        let name = OsString::from("advisory");
        let line: Vec<_> = iter::once(name).chain(role::arguments()).collect();
        Self::try_parse_from(&line).map_err(|error| {
            // Nothing can be said about an error of the output.
            let _ = match error.kind() {
                // Also if the environment has options, where clap reports an error.
                ErrorKind::MissingSubcommand => {
                    let help = Self::command().render_help();
                    write!(anstream::stderr(), "{}", help.ansi())
                }
                _ => error.print(),
            };
            match error.use_stderr() {
                false => ExitCode::SUCCESS,
                true if has_codes_of_run(&line) => Code::UsageOfRun.into(),
                true => Code::Usage.into(),
            }
        })
    }

    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let server = &self.server;
        match self.command {
            Command::Ls(args) => args.run(server).await,
            Command::Tree(args) => args.run(server).await,
            Command::Explain(args) => args.run(server).await,
            Command::Key(args) => args.run(server).await,
            Command::Run(args) => args.run(server).await.map_err(Failure::of_run),
            Command::Lead(args) => args.run(server).await.map_err(Failure::of_run),
            Command::Hold(args) => args.run(server).await.map_err(Failure::of_run),
            Command::Doctor(args) => args.run(server).await,
            Command::Setup(args) => args.run(server).await,
            Command::Bench(args) => args.run(server).await,
            Command::Cancel(args) => args.run(server, Action::Cancel).await,
            Command::Terminate(args) => args.run(server, Action::Terminate).await,
            Command::Completions(args) => args.run(),
        }
    }
}

/// Whether a command line that cannot be read is one of `run`, `lead` or `hold`.
fn has_codes_of_run(line: &[OsString]) -> bool {
    let lenient = Arguments::command().ignore_errors(true);
    let matches = lenient.try_get_matches_from(line).ok();
    let subcommand = matches.as_ref().and_then(ArgMatches::subcommand_name);
    matches!(subcommand, Some("run" | "lead" | "hold"))
}

#[derive(Args)]
#[command(override_usage = "advisory completions [OPTIONS] <SHELL>")]
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
