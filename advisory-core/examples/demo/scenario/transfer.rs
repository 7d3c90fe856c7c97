//! Transfers between accounts, in both directions.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Barrier;

use super::{Run, Scenario, connect, start_delay, work};
use crate::timeline::{Ending, Timeline};

#[path = "../../transfer.rs"]
#[expect(dead_code, reason = "the example has its own `main`")]
mod example;

const ACCOUNTS: i64 = 5;

/// Three transfers in a circle, and two between the same accounts in opposite directions.
const TRANSFERS: [(i64, i64); 5] = [(1, 2), (2, 3), (3, 1), (4, 5), (5, 4)];

pub(crate) async fn run() -> Result<Scenario, sqlx::Error> {
    Ok(Scenario {
        title: "Transfers between five accounts of 100.00",
        description: &[
            "Each transfer reads two balances, works, and writes both. Three go in a",
            "circle, two there and back, so no balance should differ in the end.",
        ],
        runs: [without().await?, with().await?],
    })
}

async fn without() -> Result<Run, sqlx::Error> {
    let (_database, pool) = accounts().await?;
    let all_have_read = Barrier::new(TRANSFERS.len());
    let compute = || async {
        all_have_read.wait().await;
        work(50).await;
    };
    let transfers = TRANSFERS.iter().enumerate().map(|(n, &(from, to))| {
        worker(
            n,
            example::transfer_unlocked(&pool, from, to, 1_000, compute()),
        )
    });
    let timelines = join_all(transfers).await;
    let total = example::total(&example::balances(&pool).await?);
    assert_ne!(total, "500.00", "a transfer wrote a stale balance");
    Ok(Run {
        heading: "without a lock",
        timelines,
        conclusion: format!("All read 100.00 and overwrite each other: 500.00 became {total}."),
    })
}

async fn with() -> Result<Run, sqlx::Error> {
    let (_database, pool) = accounts().await?;
    let transfers = TRANSFERS
        .iter()
        .enumerate()
        .map(|(n, &(from, to))| worker(n, example::transfer(&pool, from, to, 1_000, work(50))));
    let timelines = join_all(transfers).await;
    assert!(
        timelines.iter().all(Timeline::is_done),
        "no deadlock: {timelines:?}"
    );
    let balances = example::balances(&pool).await?;
    assert_eq!(balances, [10_000; 5], "no balance has changed");
    let total = example::total(&balances);
    Ok(Run {
        heading: r#"#[advisory(keys = ["account:{from}", "account:{to}"], tx)]"#,
        timelines,
        conclusion: format!(
            "Only transfers that share an account wait for each other: {total} again."
        ),
    })
}

async fn accounts() -> Result<(Database, PgPool), sqlx::Error> {
    let database = Database::new().await;
    let pool = database.pool(5).await;
    connect(&pool).await?;
    example::set_up(&pool, ACCOUNTS).await?;
    Ok((database, pool))
}

fn worker<'a>(
    position: usize,
    transfer: impl Future<Output = Result<(), sqlx::Error>> + 'a,
) -> LocalBoxFuture<'a, Timeline> {
    let (from, to) = TRANSFERS[position];
    let name = format!("{from} → {to}");
    Timeline::record(
        name,
        start_delay(position),
        transfer,
        |result| match result {
            Ok(()) => Ending::Done("10.00 moved".into()),
            Err(error) => panic!("expected no error, found {error}"),
        },
    )
}
