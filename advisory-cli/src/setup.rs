//! `advisory setup`: the table that `run --every` needs.

use std::process::ExitCode;

use clap::Args;

use crate::exit::Failure;
use crate::output;
use crate::periods_table::PeriodsTable;
use crate::server::Server;

/// Create the table in which `run --every` and the library's `every` mark their periods.
///
/// The table has a row for each job. If it exists, nothing happens. Everything else works without a
/// table. The role that runs the jobs needs SELECT, INSERT and UPDATE on it.
#[derive(Args, Clone)]
pub(crate) struct Setup {
    #[command(flatten)]
    table: PeriodsTable,
    /// Print the statement, for a migration, and do not connect.
    #[arg(long)]
    print: bool,
}

impl Setup {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let periods = self.table.periods();
        if self.print {
            output::print_line(format_args!("{};", periods.ddl()))?;
        } else {
            periods.create_in(&server.connect(1).await?).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
