//! A fault after every message of every verb.
//!
//! A scenario takes a lock, writes a row under it and ends. It runs many times, and each time its
//! connection is cut one message later: closed, reset, or silent from that message on. For every
//! cut, the tests assert that the scenario ends in time, with a success or an error; that the row
//! exists if the scenario has reported it, and never twice; and that nothing is left behind.
//!
//! The start-up of a connection belongs to sqlx and is not cut.
//!
//! | module | what it is for |
//! |---|---|
//! | `scenario` | a scenario and its options |
//! | `verb` | the scenarios of each verb |
//! | `special` | scenarios that do more than to hold a lock |
//! | `fixture` | the database for one scenario at a time, and a rival for its lock |
//! | `env` | the lock, the pool and the row of a scenario |
//! | `runner` | runs a scenario with a fault, and checks the outcome |
//! | `sweep` | runs a scenario with a cut after one message, after two, and so on |
//! | `workers` | runs many sweeps at the same time |
//! | `report` | prints the results |
//! | `regression` | single faults that a sweep does not cover |

mod env;
mod fixture;
mod regression;
mod report;
mod runner;
mod scenario;
mod special;
mod sweep;
mod verb;
mod workers;

use std::sync::LazyLock;
use std::time::Duration;

use advisory_tests::{Cut, Depth, Side};

use crate::fixture::Fixture;
use crate::runner::Runner;
use crate::scenario::Scenario;
use crate::sweep::Sweep;
use crate::workers::run_on_workers;

static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
    let mut scenarios = verb::scenarios();
    scenarios.extend(special::scenarios());
    scenarios
});

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// In short depth, one of so many cut points is tested, in each sweep.
const STEP: usize = 30;

/// Every scenario, with connections that are closed or reset, on each side; in short depth, with one
/// of these four.
fn closed() -> impl Iterator<Item = Sweep> {
    let cuts = [Cut::Fin, Cut::Reset];
    SCENARIOS.iter().flat_map(move |scenario| {
        let sweep = |cut| SIDES.map(|side| Sweep::new(scenario, cut, side));
        let sweeps = cuts.map(sweep).concat();
        match Depth::of_run() {
            Depth::Short => sample(&sweeps),
            Depth::Full => sweeps,
        }
    })
}

/// Every scenario with a bound, with connections that fall silent; in short depth, on one side. A
/// wait without a timeout has no bound. Each run takes a second or two, so each sweep is divided
/// among workers.
fn silent() -> impl Iterator<Item = Sweep> {
    let scenarios = SCENARIOS.iter().filter(|scenario| scenario.has_bound);
    scenarios.flat_map(|scenario| {
        let sweeps = SIDES.map(|side| Sweep::new(scenario, Cut::Silence, side));
        match Depth::of_run() {
            Depth::Short => sample(&sweeps),
            Depth::Full => sweeps
                .into_iter()
                .flat_map(|sweep| sweep.divided_by(3))
                .collect(),
        }
    })
}

/// A part of one of the sweeps.
fn sample(sweeps: &[Sweep]) -> Vec<Sweep> {
    let sweep = fastrand::choice(sweeps).expect("BUG: there is one");
    vec![sweep.sample(STEP)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_after_any_message_leaves_nothing_behind() {
    report::count_panics();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let run = |sweep: Sweep, fixture| Box::pin(sweep.run(fixture)) as _;
    // A silent run only waits, so many of them can run at the same time.
    let (closed, silent) = tokio::join!(
        run_on_workers(8, closed(), run),
        run_on_workers(40, silent(), run)
    );
    report::print_and_assert(&[closed, silent].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_network_changes_no_outcome() {
    const DELAY: Duration = Duration::from_millis(5);
    let outcomes = run_on_workers(8, SCENARIOS.iter(), |scenario, fixture| {
        Box::pin(async move {
            let fixture = Fixture::of(scenario, fixture).await;
            let mut runner = Runner::new(scenario, &fixture, false).await;
            let outcome = runner.run(|proxy| proxy.set_delay(DELAY)).await;
            outcome.map_err(|(_, what)| format!("{}: {what}", scenario.name))
        })
    });
    for outcome in outcomes.await {
        outcome.unwrap_or_else(|what| panic!("{what}"));
    }
}
