//! The table of the cuts and the violations.

use std::panic;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use advisory_tests::Cut;

use crate::runner::ViolationKind;
use crate::scenario::Scenario;
use crate::sweep::SweepResult;
use crate::{SCENARIOS, SIDES};

/// The number of panics in this process, also in the background.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics from now on.
pub(crate) fn count_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
}

/// Does not count the last panic, which was an assertion of the harness.
pub(crate) fn forget_panic() {
    PANICS.fetch_sub(1, Ordering::Relaxed);
}

/// Prints how often each scenario was cut by each kind of fault, after messages of the client and
/// of the server. Panics if there was a violation.
pub(crate) fn print_and_assert(results: &[SweepResult]) {
    println!(
        "{:64}{:>10}{:>10}{:>10}",
        "cut points", "closed", "reset", "silent"
    );
    for scenario in SCENARIOS.iter() {
        let [closed, reset, silent] = [Cut::Fin, Cut::Reset, Cut::Silence].map(|cut| {
            let [client, server] = SIDES.map(|side| {
                let is_cell = |result: &&SweepResult| {
                    let sweep = result.sweep;
                    ptr::eq::<Scenario>(sweep.scenario, scenario)
                        && (sweep.cut, sweep.side) == (cut, side)
                };
                let points = results.iter().filter(is_cell).map(|result| result.points);
                points.sum::<usize>()
            });
            match client + server {
                0 => "-".to_owned(),
                _ => format!("{client} + {server}"),
            }
        });
        println!("{:64}{closed:>10}{reset:>10}{silent:>10}", scenario.name);
    }
    let points: usize = results.iter().map(|result| result.points).sum();
    let violations = || {
        results
            .iter()
            .filter_map(|result| result.violation.as_ref())
    };
    let count = |kind| violations().filter(|(found, _)| *found == kind).count();
    let panics = PANICS.load(Ordering::Relaxed);
    println!(
        "cut points: {points}, hangs {}, panics {panics}, leaks {}, wrong outcomes {}; the longest took {:?}",
        count(ViolationKind::Hang),
        count(ViolationKind::Leak),
        count(ViolationKind::Outcome),
        results.iter().map(|result| result.longest).max().unwrap()
    );
    let texts: Vec<_> = violations()
        .map(|(kind, what)| format!("{kind:?}: {what}"))
        .collect();
    assert!(texts.is_empty() && panics == 0, "{}", texts.join("\n\n"));
}
