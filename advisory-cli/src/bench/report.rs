//! The results, as JSON and as tables that fit on one screen.

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::latency::Latency;
use super::throughput::Throughput;
use crate::exit::Failure;
use crate::output;

#[derive(Serialize)]
pub(super) struct Report {
    /// The version of the server.
    pub(super) server: String,
    pub(super) seconds: u16,
    pub(super) connections: u32,
    pub(super) latency: Vec<Latency>,
    pub(super) throughput: Vec<Throughput>,
}

pub(super) fn print(report: &Report) -> Result<(), Failure> {
    let (version, seconds) = (&report.server, report.seconds);
    output::print_line(format!("PostgreSQL {version}, {seconds} s\n"))?;
    let mut table = output::new_table();
    table.set_header(["latency", "median", "p99"]);
    for latency in &report.latency {
        table.add_row(row(latency));
    }
    print_table(&mut table)?;
    output::print_line("")?;
    let mut table = output::new_table();
    table.set_header(["throughput", "connections", "locks/s"]);
    for throughput in &report.throughput {
        table.add_row([
            throughput.work.to_owned(),
            throughput.connections.to_string(),
            format!("{:.0}", throughput.locks_per_second),
        ]);
    }
    print_table(&mut table)
}

fn row(latency: &Latency) -> [String; 3] {
    let work = latency.work.to_owned();
    if let Some(reason) = &latency.refused {
        return [work, "-".to_owned(), format!("- {reason}")];
    }
    let time = |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{us:.0} µs"));
    [work, time(latency.median_us), time(latency.p99_us)]
}

/// Prints a table whose columns are aligned to the right, except the first.
fn print_table(table: &mut Table) -> Result<(), Failure> {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    output::print_table(table)
}
