//! The tables, the plot and the targets.

use super::{CONNECTIONS, Variant};
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Sample, quantile, thousands};

pub(super) fn of(variants: &[Variant], rows: &[Vec<Sample>]) -> Report {
    let header = ["locks per second, by number of connections".to_owned()];
    let header = header
        .into_iter()
        .chain(CONNECTIONS.map(|connections| connections.to_string()));
    let mut rates = Table::new(header);
    let mut targets = Vec::new();
    let mut lines = Vec::new();
    for (
        variant,
        Variant {
            name, reference, ..
        },
    ) in variants.iter().enumerate()
    {
        let medians: Vec<_> = rows.iter().map(|row| row[variant].median()).collect();
        // Its row is the share below the one that it is the reference of.
        if reference.is_some() {
            let medians = medians.iter().copied().map(thousands);
            rates.row(std::iter::once((*name).to_owned()).chain(medians));
        }
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
            .map(|row| row[variant].ratio_to(&row[rival]))
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
        parts: vec![Part::new("throughput", rates)],
        plots: vec![Plot {
            file: "performance-throughput",
            title: "Distinct keys: locks taken and released per second",
            shape,
        }],
        targets,
    }
}
