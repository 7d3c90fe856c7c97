//! A session lock that nobody else wants.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use sqlx::PgPool;
use sqlx::postgres::PgAdvisoryLock;

use crate::Bench;
use crate::by_hand;
use crate::contest::{Lane, measure};
use crate::place::Place;
use crate::report::{Part, Report, Table, Target};
use crate::trips::{count, counter};

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
    let (proxy, counted) = counter(&database).await;
    let trips = count(&proxy, &mut lanes(&counted.pool().await)).await;
    let direct = Place(database.options()).pool().await;
    let mut lanes = lanes(&direct);
    let samples = measure(bench, "session", &mut lanes).await;
    let table = Table::of_contest(&lanes, &samples, &trips, &AGAINST);
    let ours = [(0, BY_HAND), (1, BY_HAND), (4, BY_HAND_TIMEOUT)];
    let ratios = ours.map(|(row, rival)| {
        (
            lanes[row].name.clone(),
            samples[rival].ratio_to(&samples[row]),
        )
    });
    let peer = [(
        "`acquire`, release".to_owned(),
        samples[2].ratio_to(&samples[0]),
    )];
    Report {
        parts: vec![Part::new("session", table)],
        targets: vec![
            Target::never_slower("local: session locks against the same by hand", &ratios),
            Target::never_slower("local: session lock against sqlx's `PgAdvisoryLock`", &peer),
        ],
        ..Report::default()
    }
}

fn lanes(pool: &PgPool) -> Vec<Lane> {
    let lock = AdvisoryLock::new(NAME);
    let patient = lock.clone().timeout(TIMEOUT);
    vec![
        acquiring("`acquire`, release", pool, &lock),
        trying("`try_acquire`, release", pool, &lock),
        sqlx_guard("sqlx `PgAdvisoryLock`", pool),
        by_hand_on("by hand", pool),
        acquiring("`acquire`, timeout, release", pool, &patient),
        by_hand_with_timeout("by hand, timeout", pool),
    ]
}

fn acquiring(name: &str, pool: &PgPool, lock: &AdvisoryLock) -> Lane {
    let (pool, lock) = (pool.clone(), lock.clone());
    Lane::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let guard = lock.acquire(&pool).await.expect("the lock is free");
            guard.release().await.expect("the lock was held");
        }
    })
}

fn trying(name: &str, pool: &PgPool, lock: &AdvisoryLock) -> Lane {
    let (pool, lock) = (pool.clone(), lock.clone());
    Lane::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let guard = lock.try_acquire(&pool).await.expect("the server answers");
            let guard = guard.expect("the lock is free");
            guard.release().await.expect("the lock was held");
        }
    })
}

fn sqlx_guard(name: &str, pool: &PgPool) -> Lane {
    let (pool, lock) = (pool.clone(), PgAdvisoryLock::new(NAME));
    Lane::new(name, move || {
        let (pool, lock) = (pool.clone(), lock.clone());
        async move {
            let conn = pool.acquire().await.expect("the pool has a connection");
            let guard = lock.acquire(conn).await.expect("the lock is free");
            guard.release_now().await.expect("the lock was held");
        }
    })
}

fn by_hand_on(name: &str, pool: &PgPool) -> Lane {
    let pool = pool.clone();
    Lane::new(name, move || {
        let pool = pool.clone();
        async move {
            let done = by_hand::session(&pool, KEY);
            done.await.expect("the lock is free");
        }
    })
}

fn by_hand_with_timeout(name: &str, pool: &PgPool) -> Lane {
    let pool = pool.clone();
    Lane::new(name, move || {
        let pool = pool.clone();
        async move {
            let done = by_hand::session_with_timeout(&pool, KEY, TIMEOUT);
            done.await.expect("the lock is free");
        }
    })
}
