//! The tables, the plot and the targets.

use super::{CONNECTIONS, Row, Variant};
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{quantile, thousands, three_digits};

pub(super) fn of(variants: &[Variant], rows: &[Vec<Row>]) -> Report {
    let header = ["locks per second, by number of connections".to_owned()];
    let header = header
        .into_iter()
        .chain(CONNECTIONS.map(|connections| connections.to_string()));
    let mut rates = Table::new(header.clone());
    let mut processor = Table::new(
        ["client processor time per lock in µs, by number of connections".to_owned()]
            .into_iter()
            .chain(header.skip(1)),
    );
    let mut targets = Vec::new();
    let mut lines = Vec::new();
    for (
        variant,
        Variant {
            name, reference, ..
        },
    ) in variants.iter().enumerate()
    {
        let medians: Vec<_> = rows.iter().map(|row| row[variant].rate.median()).collect();
        rates
            .row(std::iter::once((*name).to_owned()).chain(medians.iter().copied().map(thousands)));
        let used = rows
            .iter()
            .map(|row| three_digits(quantile(&row[variant].processor, 0.5)));
        processor.row(std::iter::once((*name).to_owned()).chain(used));
        lines.push(Line {
            name: name.replace('`', ""),
            points: CONNECTIONS
                .iter()
                .copied()
                .map(f64::from)
                .zip(medians)
                .collect(),
        });
        let Some(rival) = *reference else { continue };
        let ratios: Vec<_> = rows
            .iter()
            .map(|row| row[variant].rate.ratio_to(&row[rival].rate))
            .collect();
        let shares = ratios.iter().map(|ratio| format!("{:.0} %", ratio * 100.0));
        rates.row(
            std::iter::once("… relative to pgbench with the same statements".to_owned())
                .chain(shares),
        );
        if variant != 2 {
            let best = quantile(&ratios, 0.5);
            let what = format!(
                "distinct keys: {name}, relative to pgbench with the same statements, median over the numbers of connections"
            );
            targets.push(Target::at_least(what, 0.8, best));
        }
    }
    let shape = Shape::Lines {
        across: "connections",
        up: "locks per second",
        lines,
    };
    Report {
        parts: vec![
            Part::new("throughput", rates),
            Part::new("throughput-processor", processor),
        ],
        plots: vec![Plot {
            file: "performance-throughput",
            title: "Distinct keys: locks taken and released per second",
            shape,
        }],
        targets,
    }
}
