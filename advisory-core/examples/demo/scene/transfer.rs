//! Transfers in every direction.

use advisory_tests::Database;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::PgPool;
use tokio::sync::Barrier;

use super::{Act, Scene, arrival, connect, work};
use crate::lane::{Ending, Lane};

#[path = "../../transfer.rs"]
#[expect(dead_code, reason = "it has a `main` of its own")]
mod example;

const ACCOUNTS: i64 = 5;

/// Three in a circle, and two there and back.
const TRANSFERS: [(i64, i64); 5] = [(1, 2), (2, 3), (3, 1), (4, 5), (5, 4)];

pub(crate) async fn play() -> Result<Scene, sqlx::Error> {
    Ok(Scene {
        title: "Transfers between five accounts of 100.00",
        story: &[
            "Each reads two balances, thinks, and writes both. Three go in a circle, two",
            "there and back: in the end every account should have what it had.",
        ],
        acts: [without().await?, with().await?],
    })
}

async fn without() -> Result<Act, sqlx::Error> {
    let (_database, pool) = accounts().await?;
    let all_have_read = Barrier::new(TRANSFERS.len());
    let thinking = || async {
        all_have_read.wait().await;
        work(50).await;
    };
    let transfers = TRANSFERS.iter().enumerate().map(|(n, &(from, to))| {
        worker(
            n,
            example::transfer_unlocked(&pool, from, to, 1_000, thinking()),
        )
    });
    let lanes = join_all(transfers).await;
    let total = example::total(&example::balances(&pool).await?);
    assert_ne!(total, "500.00", "somebody wrote what was no longer true");
    Ok(Act {
        heading: "without a lock",
        lanes,
        moral: format!(
            "All read the same 100.00 and write over each other: 500.00 became {total}."
        ),
    })
}

async fn with() -> Result<Act, sqlx::Error> {
    let (_database, pool) = accounts().await?;
    let transfers = TRANSFERS
        .iter()
        .enumerate()
        .map(|(n, &(from, to))| worker(n, example::transfer(&pool, from, to, 1_000, work(50))));
    let lanes = join_all(transfers).await;
    assert!(lanes.iter().all(Lane::is_done), "no deadlock: {lanes:?}");
    let balances = example::balances(&pool).await?;
    assert_eq!(balances, [10_000; 5], "every account has what it had");
    let total = example::total(&balances);
    Ok(Act {
        heading: r#"#[advisory(keys = ["account:{from}", "account:{to}"], tx)]"#,
        lanes,
        moral: format!("Only those that share an account wait for each other: {total}, as before."),
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
) -> LocalBoxFuture<'a, Lane> {
    let (from, to) = TRANSFERS[position];
    let name = format!("{from} → {to}");
    Lane::record(name, arrival(position), transfer, |result| match result {
        Ok(()) => Ending::Done("10.00 moved".into()),
        Err(error) => panic!("no error is to be expected: {error}"),
    })
}
