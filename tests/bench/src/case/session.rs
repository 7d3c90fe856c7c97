//! A free session lock.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use sqlx::PgPool;
use sqlx::postgres::PgAdvisoryLock;

use crate::Bench;
use crate::by_hand;
use crate::comparison::Workload;
use crate::endpoint::Endpoint;
use crate::one_core::on_all_cores_and_one;
use crate::report::{Report, Target};
use crate::round_trips::{count, counting_proxy};
use crate::sample::Sample;

const TIMEOUT: Duration = Duration::from_secs(2);
const NAME: &str = "bench:session";
const KEY: i64 = 4_712;

const BY_HAND: usize = 3;
const BY_HAND_TIMEOUT: usize = 5;
const AGAINST: [Option<usize>; 6] = [
    Some(BY_HAND),
    Some(BY_HAND),
    Some(BY_HAND),
    None,
    Some(BY_HAND_TIMEOUT),
    None,
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let (proxy, counted) = counting_proxy(&database).await;
    let round_trips = count(&proxy, &mut workloads(&counted.pool().await)).await;
    let direct = Endpoint(database.options()).pool().await;
    let mut workloads = workloads(&direct);
    on_all_cores_and_one(
        bench,
        &database,
        "session",
        &mut workloads,
        &round_trips,
        &AGAINST,
        targets,
    )
    .await
}

fn targets(workloads: &[Workload], samples: &[Sample], how: &str) -> Vec<Target> {
    let ours = [(0, BY_HAND), (1, BY_HAND), (4, BY_HAND_TIMEOUT)];
    let ratios = ours.map(|(row, rival)| {
        let ratio = samples[rival].ratio_to(&samples[row]);
        (workloads[row].name.clone(), ratio)
    });
    vec![Target::never_slower(
        format!("{how}: session locks, relative to by hand"),
        &ratios,
    )]
}

fn workloads(pool: &PgPool) -> Vec<Workload> {
    let lock = AdvisoryLock::new(NAME);
    let patient = lock.clone().timeout(TIMEOUT);
    let theirs = PgAdvisoryLock::new(NAME);
    vec![
        Workload::with_lock("`acquire`, release", pool, &lock, acquire),
        Workload::with_lock("`try_acquire`, release", pool, &lock, try_acquire),
        Workload::on_pool("sqlx `PgAdvisoryLock`", pool, move |pool| {
            let theirs = theirs.clone();
            async move {
                let guard = theirs.acquire(pool.acquire().await?).await?;
                guard.release_now().await.map(drop)
            }
        }),
        Workload::on_pool("by hand", pool, |pool| by_hand::session(pool, KEY)),
        Workload::with_lock("`acquire`, timeout, release", pool, &patient, acquire),
        Workload::on_pool("by hand, timeout", pool, |pool| {
            by_hand::session_with_timeout(pool, KEY, TIMEOUT)
        }),
    ]
}

pub(super) async fn acquire(lock: AdvisoryLock, pool: PgPool) -> Result<(), Error> {
    lock.acquire(&pool).await?.release().await
}

async fn try_acquire(lock: AdvisoryLock, pool: PgPool) -> Result<(), Error> {
    let guard = lock.try_acquire(&pool).await?;
    guard.expect("the lock is free").release().await
}
