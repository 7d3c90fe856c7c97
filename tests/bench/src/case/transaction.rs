//! A free lock in a transaction.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::by_hand;
use crate::comparison::Workload;
use crate::endpoint::Endpoint;
use crate::one_core::on_all_cores_and_one;
use crate::report::{Report, Target};
use crate::sample::Sample;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
const NAME: &str = "bench:transaction";
const KEY: i64 = 4_711;

/// The indexes of rows of [`workloads`] that are compared.
pub(crate) const TRANSACTION: usize = 0;
pub(crate) const ATTRIBUTE: usize = 1;
pub(crate) const JOINED: usize = 2;
pub(crate) const BY_HAND: usize = 3;
pub(crate) const PIPELINED: usize = 5;
pub(crate) const TRANSACTION_TIMEOUT: usize = 6;
pub(crate) const ATTRIBUTE_TIMEOUT: usize = 7;
pub(crate) const BY_HAND_TIMEOUT: usize = 8;

/// The indexes of our rows.
const OURS: [usize; 5] = [
    TRANSACTION,
    ATTRIBUTE,
    JOINED,
    TRANSACTION_TIMEOUT,
    ATTRIBUTE_TIMEOUT,
];

#[advisory(key = "bench:{name}", tx)]
async fn annotated(pool: &PgPool, name: &str) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

#[advisory(key = "bench:{name}", timeout = 2, tx)]
async fn annotated_with_timeout(pool: &PgPool, name: &str) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let compared = on_all_cores_and_one(bench, &database, "transaction", workloads, targets);
    let (mut report, round_trips) = compared.await;
    report.targets.splice(..0, round_trip_targets(&round_trips));
    report
}

fn targets(workloads: &[Workload], samples: &[Sample], how: &str) -> Vec<Target> {
    let ratio = |row: usize, rival: usize| samples[rival].ratio_to(&samples[row]);
    let ratios = OURS.map(|row| {
        let rival = workloads[row]
            .rival
            .expect("BUG: a row of ours has a rival");
        (workloads[row].name.clone(), ratio(row, rival))
    });
    vec![
        Target::at_least(
            format!("{how}: `transaction`, relative to by hand"),
            1.2,
            ratio(TRANSACTION, BY_HAND),
        ),
        Target::at_least(
            format!("{how}: `transaction` with a timeout, relative to by hand"),
            1.0,
            ratio(TRANSACTION_TIMEOUT, BY_HAND_TIMEOUT),
        ),
        Target::never_slower(
            format!("{how}: transaction locks, relative to by hand"),
            &ratios,
        ),
    ]
}

fn round_trip_targets(round_trips: &[Option<f64>]) -> Vec<Target> {
    let round_trips = |row: usize| round_trips[row].unwrap_or(f64::NAN);
    vec![
        Target::exactly(
            "round trips of `transaction` with a timeout",
            2.0,
            round_trips(TRANSACTION_TIMEOUT),
        ),
        Target::exactly(
            "round trips of the attribute on a pool with a timeout",
            2.0,
            round_trips(ATTRIBUTE_TIMEOUT),
        ),
        Target::exactly(
            "round trips by hand with a timeout",
            7.0,
            round_trips(BY_HAND_TIMEOUT),
        ),
    ]
}

/// Every workload of this case, in the order of the constants above.
pub(crate) async fn workloads(endpoint: &Endpoint) -> Vec<Workload> {
    let pool = endpoint.pool().await;
    let lock = AdvisoryLock::new(NAME);
    let patient = lock.clone().timeout(TIMEOUT);
    vec![
        Workload::with_lock("`transaction`", &pool, &lock, transaction).against(BY_HAND),
        Workload::on_pool("`#[advisory]` on a pool", &pool, |pool| async move {
            annotated(&pool, "attribute").await
        })
        .against(BY_HAND),
        Workload::with_lock("begin, `acquire_xact`, commit", &pool, &lock, join).against(BY_HAND),
        Workload::on_pool("by hand", &pool, |pool| by_hand::transaction(pool, KEY)),
        // The shortest message that opens a transaction and locks. A faster workload with sqlx is
        // not possible.
        Workload::on_pool("begin and lock in one message, commit", &pool, |pool| {
            by_hand::transaction_in_one_message(pool, KEY)
        })
        .against(BY_HAND),
        pipelined("pipelining driver, without a pool", endpoint)
            .await
            .against(BY_HAND),
        Workload::with_lock("`transaction`, timeout", &pool, &patient, transaction)
            .against(BY_HAND_TIMEOUT),
        Workload::on_pool("`#[advisory]`, timeout", &pool, |pool| async move {
            annotated_with_timeout(&pool, "attribute").await
        })
        .against(BY_HAND_TIMEOUT),
        Workload::on_pool("by hand, timeout", &pool, |pool| {
            by_hand::transaction_with_timeout(pool, KEY, TIMEOUT)
        }),
    ]
}

pub(super) async fn transaction(lock: AdvisoryLock, pool: PgPool) -> Result<(), Error> {
    lock.transaction(&pool, async |_| Ok(())).await
}

async fn join(lock: AdvisoryLock, pool: PgPool) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    lock.acquire_xact(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// The lower bound: two messages on one connection, with a prepared statement for the lock.
async fn pipelined(name: &str, endpoint: &Endpoint) -> Workload {
    let client = endpoint.pipelining().await;
    let statement = client.prepare("SELECT pg_advisory_xact_lock($1)").await;
    let statement = statement.expect("it can be prepared");
    let client = std::sync::Arc::new(client);
    Workload::new(name, move || {
        let (client, statement) = (client.clone(), statement.clone());
        async move {
            let lock = client.query_one(&statement, &[&KEY]);
            let begun = tokio::try_join!(client.batch_execute("BEGIN"), lock);
            begun.expect("the lock is free");
            let committed = client.batch_execute("COMMIT").await;
            committed.expect("it can be committed");
        }
    })
}
