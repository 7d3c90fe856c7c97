//! A free session lock.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use sqlx::PgPool;
use sqlx::postgres::PgAdvisoryLock;

use crate::Bench;
use crate::by_hand;
use crate::comparison::{Workload, measure};
use crate::endpoint::Endpoint;
use crate::one_core::OnOneCore;
use crate::report::{Part, Report, Table, Target};
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
    let samples = measure(bench, "session", &mut workloads).await;
    let table = Table::of_comparison(&workloads, &samples, &round_trips, &AGAINST);
    let mut report = Report {
        parts: vec![Part::new("session", table)],
        targets: targets(&workloads, &samples, "local"),
        ..Report::default()
    };
    let part = match OnOneCore::with(&database).await {
        Ok(_on_one_core) => {
            let samples = measure(bench, "session, one core", &mut workloads).await;
            report
                .targets
                .extend(targets(&workloads, &samples, "local, one core"));
            let table = Table::of_comparison(&workloads, &samples, &round_trips, &AGAINST);
            Part::new("session-core", table)
        }
        Err(reason) => {
            Part::new("session-core", Table::new(["what"])).note(format!("Not measured: {reason}."))
        }
    };
    report.parts.push(part);
    report
}

fn targets(workloads: &[Workload], samples: &[Sample], how: &str) -> Vec<Target> {
    let ours = [(0, BY_HAND), (1, BY_HAND), (4, BY_HAND_TIMEOUT)];
    let ratios = ours.map(|(row, rival)| {
        let ratio = samples[rival].ratio_to(&samples[row]);
        (workloads[row].name.clone(), ratio)
    });
    vec![Target::never_slower(
        format!("{how}: session locks against the same by hand"),
        &ratios,
    )]
}

fn workloads(pool: &PgPool) -> Vec<Workload> {
    let lock = AdvisoryLock::new(NAME);
    let patient = lock.clone().timeout(TIMEOUT);
    vec![
        acquiring("`acquire`, release", pool, &lock),
        trying("`try_acquire`, release", pool, &lock),
        sqlx_guard("sqlx `PgAdvisoryLock`", pool),
        Workload::on_pool("by hand", pool, |pool| async move {
            by_hand::session(&pool, KEY).await
        }),
        acquiring("`acquire`, timeout, release", pool, &patient),
        Workload::on_pool("by hand, timeout", pool, |pool| async move {
            by_hand::session_with_timeout(&pool, KEY, TIMEOUT).await
        }),
    ]
}

pub(super) fn acquiring(name: &str, pool: &PgPool, lock: &AdvisoryLock) -> Workload {
    let (pool, lock) = (pool.clone(), lock.clone());
    Workload::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let guard = lock.acquire(&pool).await.expect("the lock is free");
            guard.release().await.expect("the lock was held");
        }
    })
}

fn trying(name: &str, pool: &PgPool, lock: &AdvisoryLock) -> Workload {
    let (pool, lock) = (pool.clone(), lock.clone());
    Workload::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let guard = lock.try_acquire(&pool).await.expect("the server answers");
            let guard = guard.expect("the lock is free");
            guard.release().await.expect("the lock was held");
        }
    })
}

fn sqlx_guard(name: &str, pool: &PgPool) -> Workload {
    let (pool, lock) = (pool.clone(), PgAdvisoryLock::new(NAME));
    Workload::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let conn = pool.acquire().await.expect("the pool has a connection");
            let guard = lock.acquire(conn).await.expect("the lock is free");
            guard.release_now().await.expect("the lock was held");
        }
    })
}
