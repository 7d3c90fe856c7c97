//! Many calls that want one key at the same time, on a pool with few connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use futures_util::future::{BoxFuture, join_all};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::sleep;

use crate::Bench;
use crate::by_hand;
use crate::comparison::nanoseconds;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, count, quantile, thousands};

const NAME: &str = "bench:small-pool";
const KEY: i64 = 4_716;
const CALLS: [usize; 2] = [100, 1_000];
const CONNECTIONS: u32 = 5;
/// How long a call waits for a connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the lock is held.
const HOLD: Duration = Duration::from_millis(1);
/// The pause between two queries of the same service that need no lock.
const PAUSE: Duration = Duration::from_millis(5);

/// One call: takes the lock, holds it for a moment, and commits. False if it has failed.
type Call = fn(PgPool) -> BoxFuture<'static, bool>;

const VARIANTS: [(&str, Call); 2] = [("`transaction`", ours), ("by hand", theirs)];

struct Flood {
    failed: usize,
    took: f64,
    /// How long the other queries have taken, those that have failed included.
    others: Vec<f64>,
    others_failed: usize,
}

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut table = Table::new([
        "calls at once",
        "method",
        "calls that fail",
        "until the last one ends",
        "another query on the pool, median",
        "p99",
        "such queries that fail",
    ]);
    let mut targets = Vec::new();
    let all = bench.effort.unless_smoke(CALLS.len(), 1);
    for calls in CALLS.into_iter().take(all) {
        for (index, (name, call)) in VARIANTS.into_iter().enumerate() {
            bench.set_progress(&format!("small pool: {calls} calls, {name}"));
            let database = Database::on(&bench.server).await;
            let flood = flood(&database, calls, call).await;
            table.row([
                thousands(count(calls)),
                name.to_owned(),
                flood.failed.to_string(),
                Nanoseconds(flood.took).to_string(),
                Nanoseconds(quantile(&flood.others, 0.5)).to_string(),
                Nanoseconds(quantile(&flood.others, 0.99)).to_string(),
                flood.others_failed.to_string(),
            ]);
            if index == 0 {
                let what = format!("{calls} calls on one key, {CONNECTIONS} connections: failed");
                let failed = count(flood.failed + flood.others_failed);
                targets.push(Target::exactly(what, 0.0, failed));
            }
        }
    }
    Part::new("small-pool", table).with_targets(targets)
}

async fn flood(database: &Database, calls: usize, call: Call) -> Flood {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .min_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(database.options());
    let pool = pool.await.expect("the database can be reached");
    let is_over = Arc::new(AtomicBool::new(false));
    let others = tokio::spawn(other_queries(pool.clone(), Arc::clone(&is_over)));
    let start = Instant::now();
    let calls = (0..calls).map(|_| tokio::spawn(call(pool.clone())));
    let ended = join_all(calls).await;
    let took = nanoseconds(start.elapsed());
    is_over.store(true, Ordering::Relaxed);
    let (others, others_failed) = others.await.expect("no query panics");
    let is_failed = |ended: &&Result<bool, _>| !matches!(ended, Ok(true));
    Flood {
        failed: ended.iter().filter(is_failed).count(),
        took,
        others,
        others_failed,
    }
}

/// What the same service does besides.
async fn other_queries(pool: PgPool, is_over: Arc<AtomicBool>) -> (Vec<f64>, usize) {
    let (mut took, mut failed) = (Vec::new(), 0);
    while took.is_empty() || !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let answered = sqlx::query("SELECT 1").execute(&pool).await;
        failed += usize::from(answered.is_err());
        took.push(nanoseconds(start.elapsed()));
        sleep(PAUSE).await;
    }
    (took, failed)
}

fn ours(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(NAME);
        let held = lock.transaction(&pool, async |_| {
            sleep(HOLD).await;
            Ok::<_, Error>(())
        });
        held.await.is_ok()
    })
}

fn theirs(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let Ok(tx) = by_hand::begin(&pool, KEY).await else {
            return false;
        };
        sleep(HOLD).await;
        tx.commit().await.is_ok()
    })
}
