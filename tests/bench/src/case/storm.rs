//! Many tasks that try to take one held lock without waiting.

use std::sync::LazyLock;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgAdvisoryLock;

use crate::Bench;
use crate::by_hand;
use crate::comparison::in_rotation;
use crate::endpoint::Endpoint;
use crate::rate::rate;
use crate::report::{Part, Report, Table};
use crate::sample::{Sample, thousands, three_digits};

const TASKS: usize = 64;
const CONNECTIONS: u32 = 16;
const NAME: &str = "bench:storm";

/// Created once, as applications do.
static THEIRS: LazyLock<PgAdvisoryLock> = LazyLock::new(|| PgAdvisoryLock::new(NAME));

/// Tries to take the lock. Returns true if it was granted.
type Attempt = fn(PgPool) -> BoxFuture<'static, bool>;

const VARIANTS: [(&str, Attempt, Option<usize>); 5] = [
    ("`try_transaction`", trying, Some(2)),
    (
        "`#[advisory(timeout = 0, side_effect = Skip)]`",
        skipping,
        Some(2),
    ),
    ("by hand: begin, try, rollback", by_hand_on, None),
    ("`try_acquire`", trying_session, Some(4)),
    ("sqlx `PgAdvisoryLock::try_acquire`", sqlx_trying, None),
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let endpoint = Endpoint(database.options());
    let pool = endpoint.pool_of(CONNECTIONS, false).await;
    let outside = endpoint.pool().await;
    let lock = AdvisoryLock::new(NAME);
    let held = lock.begin(&outside).await.expect("the lock is free");
    let conn = outside.acquire().await.expect("the pool has a connection");
    let held_there = THEIRS.acquire(conn).await.expect("the lock is free");
    let samples = compare(bench, &pool).await;
    drop((held, held_there));
    let mut table = Table::new(["workload", "attempts per second", "relative speed"]);
    for (variant, sample) in samples.iter().enumerate() {
        let faster = VARIANTS[variant].2.map_or(String::new(), |rival| {
            let ratio = three_digits(sample.ratio_to(&samples[rival]));
            format!("{ratio} × {}", VARIANTS[rival].0)
        });
        table.row([
            VARIANTS[variant].0.to_owned(),
            thousands(sample.median()),
            faster,
        ]);
    }
    Part::new("storm", table).into()
}

async fn compare(bench: &Bench, pool: &PgPool) -> Vec<Sample> {
    let mut samples = vec![Sample::default(); VARIANTS.len()];
    let rounds = bench.effort.fewer_rounds(3);
    for index in in_rotation(bench, "storm", rounds, VARIANTS.len()) {
        let rate = storm(pool, VARIANTS[index].1, bench.effort.block * 10).await;
        samples[index].push(vec![rate]);
    }
    samples
}

/// Attempts per second.
async fn storm(pool: &PgPool, attempt: Attempt, length: Duration) -> f64 {
    let task = |_| {
        let pool = pool.clone();
        move || {
            let attempted = attempt(pool.clone());
            async move { assert!(!attempted.await, "another session holds the lock") }
        }
    };
    rate((0..TASKS).map(task), length).await
}

#[advisory(key = "bench:{name}", timeout = 0, side_effect = Skip)]
async fn annotated(pool: &PgPool, name: &str) -> Result<Option<()>, Error> {
    Ok(Some(()))
}

fn skipping(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let ran = annotated(&pool, "storm").await;
        ran.expect("the server answers").is_some()
    })
}

fn trying(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(NAME);
        let ran = lock.try_transaction(&pool, async |_| Ok::<_, Error>(()));
        ran.await.expect("the server answers").is_some()
    })
}

fn by_hand_on(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let [key] = *AdvisoryLock::new(NAME).keys() else {
            unreachable!("BUG: a name is one key")
        };
        let advisory_core::Key::BigInt(key) = key else {
            unreachable!("BUG: a name is a bigint")
        };
        by_hand::skip(&pool, key).await.expect("the server answers")
    })
}

fn trying_session(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let guard = AdvisoryLock::new(NAME).try_acquire(&pool).await;
        guard.expect("the server answers").is_some()
    })
}

fn sqlx_trying(pool: PgPool) -> BoxFuture<'static, bool> {
    Box::pin(async move {
        let conn = pool.acquire().await.expect("the pool has a connection");
        let got = THEIRS.try_acquire(conn).await.expect("the server answers");
        matches!(got, sqlx::Either::Left(_))
    })
}
