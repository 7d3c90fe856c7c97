//! The figures, in one screen.

use comfy_table::{Cell, CellAlignment};

use super::Figures;
use super::sample::Latency;
use crate::exit::Failure;
use crate::output;

pub(super) fn print(figures: &Figures) -> Result<(), Failure> {
    output::line(format!(
        "PostgreSQL {}, {} s\n",
        figures.server, figures.seconds
    ))?;
    let mut table = output::table();
    table.set_header(["latency", "median", "p99"].map(Cell::new));
    for latency in &figures.latency {
        table.add_row(row(latency));
    }
    show(&mut table)?;
    output::line("")?;
    let mut table = output::table();
    table.set_header(["throughput", "connections", "locks/s"]);
    for throughput in &figures.throughput {
        table.add_row([
            throughput.work.to_owned(),
            throughput.connections.to_string(),
            format!("{:.0}", throughput.locks_per_second),
        ]);
    }
    show(&mut table)
}

fn row(latency: &Latency) -> Vec<Cell> {
    if let Some(why) = &latency.refused {
        return vec![
            Cell::new(latency.work),
            Cell::new("-"),
            Cell::new(format!("- {why}")),
        ];
    }
    let time =
        |time: Option<f64>| Cell::new(time.map_or("-".to_owned(), |us| format!("{us:.0} µs")));
    vec![
        Cell::new(latency.work),
        time(latency.median_us),
        time(latency.p99_us),
    ]
}

fn show(table: &mut comfy_table::Table) -> Result<(), Failure> {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for line in table.lines() {
        output::line(line.trim_end())?;
    }
    Ok(())
}
