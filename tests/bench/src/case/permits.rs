//! A lock with several permits, against the plain lock.

use std::time::Duration;

use advisory_core::{AdvisoryLock, LockSession};
use advisory_tests::{Database, Proxy};
use sqlx::PgPool;
use tokio::time::sleep;

use super::session::acquire;
use super::transaction::transaction;
use crate::Bench;
use crate::comparison::{Workload, in_rotation, measure};
use crate::endpoint::Endpoint;
use crate::one_core::on_all_cores_and_one;
use crate::rate::rate;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Sample, thousands, three_digits};

const NAME: &str = "bench:permits";
const PERMITS: u32 = 8;
const TASKS: usize = 64;
const CONNECTIONS: u32 = 20;
/// How long a permit is held.
const HOLD: Duration = Duration::from_millis(4);

const EACH_WAY: Duration = Duration::from_millis(1);

/// A row with permits, and that of the plain lock.
const PAIRS: [(usize, usize); 3] = [(1, 0), (3, 2), (5, 4)];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let uncontended = on_all_cores_and_one(bench, &database, "permits", workloads, targets);
    let (mut report, _) = uncontended.await;
    report.add(over_a_network(bench, &database).await);
    report.add(hand_overs(bench, &database).await);
    report
}

async fn over_a_network(bench: &Bench, database: &Database) -> Report {
    let proxy = Proxy::start(database).await;
    let mut workloads = workloads(&Endpoint(proxy.options())).await;
    proxy.set_delay(EACH_WAY);
    let samples = measure(bench, "permits, 1 ms each way", &mut workloads).await;
    let ratios: Vec<_> = PAIRS
        .iter()
        .map(|(row, plain)| {
            let ratio = samples[*plain].ratio_to(&samples[*row]);
            format!("{} × for {}", three_digits(ratio), workloads[*row].name)
        })
        .collect();
    let text = format!("With 1 ms each way: {}.", ratios.join(", "));
    let reached = targets(&workloads, &samples, "1 ms each way");
    Part::text("permits-network", text).with_targets(reached)
}

fn targets(workloads: &[Workload], samples: &[Sample], how: &str) -> Vec<Target> {
    let target = |(row, plain): &(usize, usize)| {
        let (row, plain) = (*row, *plain);
        let what = format!("{how}: {}, relative to the plain lock", workloads[row].name);
        Target::at_least(what, 1.0 / 1.15, samples[plain].ratio_to(&samples[row]))
    };
    PAIRS.iter().map(target).collect()
}

async fn workloads(endpoint: &Endpoint) -> Vec<Workload> {
    let pool = &endpoint.pool().await;
    let plain = AdvisoryLock::new(NAME);
    let permits = AdvisoryLock::new("bench:several").permits(PERMITS);
    let locks = LockSession::new(pool);
    let on_session = |name: &str, lock: &AdvisoryLock| {
        let (locks, lock) = (locks.clone(), lock.clone());
        Workload::on_pool(name, pool, move |_| {
            let (locks, lock) = (locks.clone(), lock.clone());
            async move { lock.acquire(&locks).await?.release().await }
        })
    };
    vec![
        Workload::with_lock("`transaction`", pool, &plain, transaction),
        Workload::with_lock("`transaction`, 8 permits", pool, &permits, transaction).against(0),
        Workload::with_lock("`acquire`, release", pool, &plain, acquire),
        Workload::with_lock("`acquire`, release, 8 permits", pool, &permits, acquire).against(2),
        on_session("on a `LockSession`", &plain),
        on_session("on a `LockSession`, 8 permits", &permits).against(4),
    ]
}

/// Many tasks hold the lock in turns: 8 locks with 8 tasks each, or one lock with 8 permits.
async fn hand_overs(bench: &Bench, database: &Database) -> Report {
    let endpoint = Endpoint(database.options());
    let pool = endpoint.pool_of(CONNECTIONS, false).await;
    let variants = ["8 locks", "8 permits"];
    let mut samples = vec![Sample::default(); variants.len()];
    let rounds = bench.effort.fewer_rounds(3);
    for index in in_rotation(bench, "64 tasks", rounds, variants.len()) {
        let lock = |task: usize| match index {
            0 => AdvisoryLock::new(format!("{NAME}:{}", task % 8)),
            _ => AdvisoryLock::new(NAME).permits(PERMITS),
        };
        let task = |task| {
            let (lock, pool) = (lock(task), pool.clone());
            move || hold(lock.clone(), pool.clone())
        };
        let granted = rate((0..TASKS).map(task), bench.effort.block * 10).await;
        samples[index].push(vec![granted]);
    }
    let mut table = Table::new(["64 tasks on", "holders per second", "relative to 8 locks"]);
    for (name, sample) in variants.iter().zip(&samples) {
        let ratio = three_digits(sample.ratio_to(&samples[0]));
        table.row([(*name).to_owned(), thousands(sample.median()), ratio]);
    }
    let what = "64 tasks on 8 permits, holders per second relative to 8 locks";
    let target = Target::at_least(what, 0.9, samples[1].ratio_to(&samples[0]));
    Part::new("permits-crowd", table).with_targets(vec![target])
}

async fn hold(lock: AdvisoryLock, pool: PgPool) {
    let held = lock.begin(&pool).await.expect("it is granted");
    sleep(HOLD).await;
    held.commit().await.expect("it can be committed");
}
