//! The cost that the attribute adds, without a server.
//!
//! A call on a closed pool fails when it acquires a connection, before it sends anything. Its
//! duration is the cost of a lock apart from the server: the name is formatted and hashed, the wait
//! is prepared, the span is opened and the future is boxed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Table, Target};
use crate::sample::Nanoseconds;

/// The number of calls in one measurement.
const CALLS: u32 = 200;

const TIMEOUT: Duration = Duration::from_secs(2);

#[advisory(key = "sync({id})", timeout = 2, tx)]
async fn annotated(pool: &PgPool, id: i64) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

async fn by_verb(pool: &PgPool, id: i64) -> Result<(), Error> {
    let lock = AdvisoryLock::new(format!("sync({id})")).timeout(TIMEOUT);
    lock.transaction(pool, async |_| Ok(())).await
}

async fn by_hand(pool: &PgPool, id: i64) -> Result<(), sqlx::Error> {
    crate::by_hand::transaction_with_timeout(pool.clone(), id, TIMEOUT).await
}

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let pool = Endpoint(database.options()).pool().await;
    pool.close().await;
    let mut workloads = workloads(&pool);
    let samples = measure(bench, "attribute", &mut workloads).await;
    let mut table = Table::new(["call", "time per call", "difference to the method"]);
    for (workload, sample) in workloads.iter().zip(&samples) {
        table.row([
            workload.name.clone(),
            Nanoseconds(sample.median()).to_string(),
            Nanoseconds(sample.excess_over(&samples[1])).to_string(),
        ]);
    }
    let over = |rival: usize| samples[0].excess_over(&samples[rival]);
    let target = |what: &str, over: f64| Target {
        what: what.to_owned(),
        wanted: "under 1 µs".to_owned(),
        measured: Nanoseconds(over).to_string(),
        is_reached: over < 1e3,
    };
    Part::new("attribute", table).with_targets(vec![
        target(
            "overhead of the attribute over `begin` by hand, without a server",
            over(2),
        ),
        target(
            "overhead of the attribute over `AdvisoryLock::transaction`, without a server",
            over(1),
        ),
    ])
}

fn workloads(pool: &PgPool) -> Vec<Workload> {
    let [one, two, three] = [(); 3].map(|()| pool.clone());
    vec![
        Workload::timed(
            "`#[advisory(key = \"sync({id})\", timeout = 2, tx)]`",
            move || {
                let pool = one.clone();
                calls(async move |id| annotated(&pool, id).await.is_err())
            },
        ),
        Workload::timed(
            "`AdvisoryLock::new(format!(…)).timeout(…).transaction(…)`",
            move || {
                let pool = two.clone();
                calls(async move |id| by_verb(&pool, id).await.is_err())
            },
        ),
        Workload::timed(
            "by hand: begin, savepoint, `SET LOCAL`, …, with a numeric key",
            move || {
                let pool = three.clone();
                calls(async move |id| by_hand(&pool, id).await.is_err())
            },
        ),
    ]
}

/// The mean duration of a call.
async fn calls(call: impl AsyncFn(i64) -> bool) -> Duration {
    let start = Instant::now();
    for id in 0..CALLS {
        assert!(call(black_box(id.into())).await, "the pool is closed");
    }
    start.elapsed() / CALLS
}
