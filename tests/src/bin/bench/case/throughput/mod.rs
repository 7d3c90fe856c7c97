//! Many keys that nobody contends for, over more and more connections, beside `pgbench` with the same statements.

mod report;
mod way;

use std::sync::Arc;
use std::time::Duration;

use advisory_tests::Database;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use crate::Bench;
use crate::contest::turns;
use crate::pgbench::Pgbench;
use crate::place::Place;
use crate::rate::rate;
use crate::report::{Part, Report, Table};
use crate::sample::Sample;

use way::{Hands, Runner, Way, Work};

const CONNECTIONS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// Rates, and how much of a processor each lock took on the client's side.
#[derive(Clone, Default)]
struct Row {
    rate: Sample,
    processor: Vec<f64>,
}

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let Some(pgbench) = Pgbench::find(&bench.server, &database) else {
        bench.tell("SKIPPED throughput: no pgbench beside the server");
        let note = "Not measured: there is no `pgbench` beside the server.";
        return Report {
            parts: vec![Part::new("throughput", Table::new(["what"])).note(note)],
            ..Report::default()
        };
    };
    let ways = way::all(&database).await;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        rows.push(contest(bench, &database, &pgbench, &ways, connections).await);
    }
    report::of(&ways, &rows)
}

async fn contest(
    bench: &Bench,
    database: &Database,
    pgbench: &Pgbench,
    ways: &[Way],
    connections: u32,
) -> Vec<Row> {
    let hands = hands(database, connections).await;
    let mut rows = vec![Row::default(); ways.len()];
    let rounds = bench.effort.fewer_rounds(12);
    for round in 0..rounds {
        bench.say(&format!(
            "throughput, {connections} connections: round {} of {rounds}",
            round + 1
        ));
        for turn in turns(ways.len(), round) {
            let length = Duration::from_secs(u64::from(!bench.effort.is_smoke));
            let (rate, used) = match &ways[turn].runner {
                Runner::Here(work) => {
                    let before = processor(UsageWho::RUSAGE_SELF);
                    let rate = rush(&hands, *work, length).await;
                    (rate, processor(UsageWho::RUSAGE_SELF) - before)
                }
                Runner::Pgbench(script) => {
                    let before = processor(UsageWho::RUSAGE_CHILDREN);
                    let rate = pgbench.run(script, connections, length).await;
                    (rate, processor(UsageWho::RUSAGE_CHILDREN) - before)
                }
            };
            rows[turn].rate.push(vec![rate]);
            rows[turn].processor.push(used / rate);
        }
    }
    rows
}

/// Microseconds, so far, of a second of work.
fn processor(who: UsageWho) -> f64 {
    let usage: Usage = getrusage(who).expect("BUG: the system counts");
    let total = usage.user_time() + usage.system_time();
    #[expect(clippy::cast_precision_loss, reason = "hours at most")]
    let total = total.num_microseconds() as f64;
    total
}

async fn hands(database: &Database, connections: u32) -> Vec<Arc<Hands>> {
    let pool = Place(database.options()).pool_of(connections, false).await;
    let mut hands = Vec::new();
    for _ in 0..connections {
        hands.push(Arc::new(Hands {
            pool: pool.clone(),
            conn: tokio::sync::Mutex::new(database.connection().await),
        }));
    }
    hands
}

/// Locks per second, by as many tasks as there are hands.
async fn rush(hands: &[Arc<Hands>], work: Work, length: Duration) -> f64 {
    let task = |hands: &Arc<Hands>| {
        let hands = Arc::clone(hands);
        move || work(Arc::clone(&hands), fastrand::i64(..))
    };
    rate(hands.iter().map(task), length).await
}
