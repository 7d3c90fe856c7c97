//! From the end of a leader to the term of the next one.

use std::future::pending;
use std::time::Instant;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Bench;
use crate::comparison::nanoseconds;
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, Sample};

const NAME: &str = "bench:leader";
/// The instances of the service, each with a pool of its own.
const INSTANCES: usize = 5;

/// How a leader ends.
#[derive(Clone, Copy)]
enum End {
    /// Its future is dropped, as at a graceful shutdown.
    Shutdown,
    /// The server ends its session.
    Terminated,
}

const ENDS: [(&str, End); 2] = [
    ("it is shut down", End::Shutdown),
    ("its session is terminated", End::Terminated),
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut table = Table::new([
        "the leader ends because",
        "the next one leads after, median",
        "p99",
    ]);
    let mut targets = Vec::new();
    for (name, end) in ENDS {
        let database = Database::on(&bench.server).await;
        let sample = hand_overs(bench, &database, end).await;
        table.row([
            name.to_owned(),
            Nanoseconds(sample.median()).to_string(),
            Nanoseconds(sample.p99()).to_string(),
        ]);
        let what = format!("the next of {INSTANCES} instances leads when {name}, p99");
        targets.push(Target::at_most(what, 1_000.0, sample.p99() / 1e6, " ms"));
    }
    Part::new("leader", table).with_targets(targets)
}

async fn hand_overs(bench: &Bench, database: &Database, end: End) -> Sample {
    let (leads, mut led) = unbounded_channel();
    let mut instances: Vec<_> = (0..INSTANCES)
        .map(|index| instance(database, index, leads.clone()))
        .collect();
    let mut admin = database.connection().await;
    let mut sample = Sample::default();
    let mut leader = next(&mut led).await;
    for round in 0..bench.effort.rounds {
        bench.set_progress(&format!("leader: round {}", round + 1));
        // The others poll, each in its own rhythm.
        sleep(bench.effort.block * 8).await;
        let start = Instant::now();
        match end {
            End::Shutdown => {
                instances[leader].abort();
                let ended = leader;
                leader = next(&mut led).await;
                sample.push(vec![nanoseconds(start.elapsed())]);
                instances[ended] = instance(database, ended, leads.clone());
            }
            End::Terminated => {
                terminate(&mut admin).await;
                leader = next(&mut led).await;
                sample.push(vec![nanoseconds(start.elapsed())]);
            }
        }
    }
    instances.iter().for_each(JoinHandle::abort);
    admin.close().await.expect("the server answers");
    sample
}

fn instance(
    database: &Database,
    index: usize,
    leads: UnboundedSender<usize>,
) -> JoinHandle<Result<(), Error>> {
    let pool = Endpoint(database.options()).lazy_pool();
    tokio::spawn(async move {
        let lock = AdvisoryLock::new(NAME);
        let led = lock.lead(&pool, async |_| {
            let _ = leads.send(index);
            pending().await
        });
        led.await
    })
}

async fn next(led: &mut UnboundedReceiver<usize>) -> usize {
    led.recv().await.expect("an instance leads")
}

async fn terminate(admin: &mut PgConnection) {
    let holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted \
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let terminated = sqlx::query(holder).execute(admin).await;
    terminated.expect("a superuser may terminate it");
}
