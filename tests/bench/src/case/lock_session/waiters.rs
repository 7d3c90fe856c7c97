//! What tasks cost that wait for keys which are held elsewhere.

use advisory_tests::Database;

use super::waiting::{CONNECTED, Measured, SHARED, measure as wait};
use crate::Bench;
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, count, thousands, three_digits};

/// The numbers of tasks that wait on one `LockSession`.
const WAITERS: [usize; 3] = [1_000, 10_000, 100_000];
/// The numbers of tasks that wait on a connection each.
const WITH_CONNECTIONS: [usize; 2] = [10, 100];

pub(super) async fn measure(bench: &Bench) -> Report {
    let mut table = Table::new([
        "waiting tasks",
        "method",
        "connections",
        "processor, client and server",
        "memory, client",
        "memory, its backends",
        "from the release to the last one",
    ]);
    let mut shared = Vec::new();
    for waiters in bench.effort.unless_smoke(&WAITERS[..], &WAITERS[..1]) {
        shared.push((*waiters, row(bench, SHARED, *waiters, &mut table).await));
    }
    let mut connected = Vec::new();
    for waiters in WITH_CONNECTIONS {
        let measured = row(bench, CONNECTED, waiters, &mut table).await;
        connected.push((waiters, measured));
    }
    let note = "*Memory* is private memory (`Private_*` in `/proc/PID/smaps_rollup`): the growth of the client's, and all of \
                the backends'.";
    Report {
        parts: vec![Part::new("lock-session-waiters", table).note(note)],
        plots: vec![plot(&shared, &connected)],
        targets: shared
            .iter()
            .flat_map(|(waiters, measured)| targets(*waiters, measured))
            .collect(),
    }
}

async fn row(bench: &Bench, how: &str, waiters: usize, table: &mut Table) -> Measured {
    bench.set_progress(&format!("lock session, {waiters} waiters"));
    let database = Database::on(&bench.server).await;
    let seconds = bench.effort.unless_smoke(5.0, 0.1);
    let measured = wait(how, waiters, seconds, &database.options()).await;
    table.row([
        thousands(count(waiters)),
        how.to_owned(),
        thousands(measured.connections),
        format!("{} % of a core", three_digits(measured.processor)),
        format!("{} MiB", three_digits(measured.memory)),
        format!("{} MiB", three_digits(measured.backend_memory)),
        Nanoseconds(measured.served).to_string(),
    ]);
    measured
}

fn targets(waiters: usize, measured: &Measured) -> Vec<Target> {
    if waiters != 10_000 {
        return Vec::new();
    }
    let target = |what: &str, limit: f64, measured: f64, unit: &'static str| {
        let what = format!("{} waiters: {what}", thousands(count(waiters)));
        Target::at_most(what, limit, measured, unit)
    };
    vec![
        target("number of connections", 4.0, measured.connections, ""),
        target("processor", 5.0, measured.processor, " % of a core"),
        target("memory of the client", 20.0, measured.memory, " MiB"),
        target(
            "from the release of their keys to the last one",
            1_000.0,
            measured.served / 1e6,
            " ms",
        ),
    ]
}

fn plot(shared: &[(usize, Measured)], connected: &[(usize, Measured)]) -> Plot {
    // A logarithmic axis has no zero.
    let of = |rows: &[(usize, Measured)], value: fn(&Measured) -> f64| {
        let point =
            |(waiters, measured): &(usize, Measured)| (count(*waiters), value(measured).max(0.01));
        rows.iter().map(point).collect::<Vec<_>>()
    };
    let one_each = WITH_CONNECTIONS.iter().chain(&WAITERS);
    let one_each = one_each.map(|waiters| (count(*waiters), count(*waiters)));
    let lines = [
        ("LockSession: connections", of(shared, |m| m.connections)),
        ("LockSession: MiB", of(shared, Measured::total_memory)),
        ("LockSession: % of a core", of(shared, |m| m.processor)),
        ("one connection each: connections", one_each.collect()),
        (
            "one connection each: MiB",
            of(connected, Measured::total_memory),
        ),
        (
            "one connection each: % of a core",
            of(connected, |m| m.processor),
        ),
    ];
    Plot {
        file: "performance-waiters",
        title: "Tasks that wait for locks, and what they use",
        shape: Shape::Lines {
            across: "waiting tasks",
            up: "connections, MiB, % of a core",
            lines: lines
                .map(|(name, points)| Line {
                    name: name.to_owned(),
                    points,
                })
                .into(),
        },
    }
}
