//! The table in which `run --every` marks its periods.

use advisory_core::Periods;
use clap::Args;

/// Which table has the marks of `--every`.
#[derive(Args, Clone)]
pub(crate) struct PeriodsTable {
    /// The table with the marks of `--every`, which `advisory setup` creates.
    #[arg(long, value_name = "NAME", default_value = "advisory_period")]
    table: String,
    /// The schema of that table. If not given, the `search_path` decides.
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
}

impl PeriodsTable {
    pub(crate) fn periods(&self) -> Periods {
        let periods = Periods::in_table(&self.table);
        match &self.schema {
            Some(schema) => periods.schema(schema),
            None => periods,
        }
    }
}
