//! `advisory setup`: the table that `run --every` needs.

use std::process::ExitCode;

use advisory_core::Periods;
use clap::Args;

use crate::exit::Failure;
use crate::output;
use crate::server::Server;

/// Create the table in which `run --every` and the library's `every` mark their periods.
///
/// The table has a row for each job. If it exists, nothing happens. Everything else works without a
/// table. The role that runs the jobs needs SELECT, INSERT and UPDATE on it.
#[derive(Args, Clone)]
pub(crate) struct Setup {
    /// The name of the table.
    #[arg(long, value_name = "NAME", default_value = "advisory_period")]
    table: String,
    /// The schema of the table, which must exist. If not given, the `search_path` decides.
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// Print the statement, for a migration, and do not connect.
    #[arg(long)]
    print: bool,
}

impl Setup {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut periods = Periods::in_table(&self.table);
        if let Some(schema) = &self.schema {
            periods = periods.schema(schema);
        }
        if self.print {
            output::print_line(format_args!("{};", periods.ddl()))?;
        } else {
            periods.create_in(&server.connect(1).await?).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
