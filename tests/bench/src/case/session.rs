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
use crate::sample::Sample;

const TIMEOUT: Duration = Duration::from_secs(2);
const NAME: &str = "bench:session";
const KEY: i64 = 4_712;

const BY_HAND: usize = 3;
const BY_HAND_TIMEOUT: usize = 5;

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let compared = on_all_cores_and_one(bench, &database, "session", workloads, targets);
    compared.await.0
}

fn targets(workloads: &[Workload], samples: &[Sample], how: &str) -> Vec<Target> {
    let ratios = [0, 1, 4].map(|row: usize| {
        let rival = workloads[row]
            .rival
            .expect("BUG: a row of ours has a rival");
        let ratio = samples[rival].ratio_to(&samples[row]);
        (workloads[row].name.clone(), ratio)
    });
    vec![Target::never_slower(
        format!("{how}: session locks, relative to by hand"),
        &ratios,
    )]
}

async fn workloads(endpoint: &Endpoint) -> Vec<Workload> {
    let pool = &endpoint.pool().await;
    let lock = AdvisoryLock::new(NAME);
    let patient = lock.clone().timeout(TIMEOUT);
    let theirs = PgAdvisoryLock::new(NAME);
    vec![
        Workload::with_lock("`acquire`, release", pool, &lock, acquire).against(BY_HAND),
        Workload::with_lock("`try_acquire`, release", pool, &lock, try_acquire).against(BY_HAND),
        Workload::on_pool("sqlx `PgAdvisoryLock`", pool, move |pool| {
            let theirs = theirs.clone();
            async move {
                let guard = theirs.acquire(pool.acquire().await?).await?;
                guard.release_now().await.map(drop)
            }
        })
        .against(BY_HAND),
        Workload::on_pool("by hand", pool, |pool| by_hand::session(pool, KEY)),
        Workload::with_lock("`acquire`, timeout, release", pool, &patient, acquire)
            .against(BY_HAND_TIMEOUT),
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
