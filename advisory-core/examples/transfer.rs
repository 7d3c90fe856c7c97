//! Many transfers run at once, in both directions, and every balance is correct.
//!
//! A transfer reads two balances, works, and writes both. Two transfers that share an account must
//! not run at the same time; two that share none may. So each transfer locks its two accounts.
//! `keys = [from, to]` takes both locks in one round trip. It takes them in the same order for both
//! directions, so that opposite transfers do not deadlock.
//!
//! The output shows a wrong total without the lock, and the correct total with it.
//!
//! ```text
//! cargo run --example transfer
//! ```

use std::future::ready;

use advisory_core::advisory;
use advisory_tests::Database;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgPool, PgTransaction};
use sqlx::{query, query_scalar};
use tokio::sync::Barrier;

/// The initial balance of every account: 100.00.
const CENTS: i64 = 10_000;

/// Moves money, and locks both accounts during the transfer.
#[advisory(keys = ["account:{from}", "account:{to}"], tx)]
pub(crate) async fn transfer(
    pool: &PgPool,
    from: i64,
    to: i64,
    cents: i64,
    compute: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    move_money(tx, from, to, cents, compute).await
}

/// Moves money without the locks.
pub(crate) async fn transfer_unlocked(
    pool: &PgPool,
    from: i64,
    to: i64,
    cents: i64,
    compute: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    move_money(&mut tx, from, to, cents, compute).await?;
    tx.commit().await
}

/// Reads both balances, awaits `compute`, and writes both balances.
async fn move_money(
    tx: &mut PgTransaction<'_>,
    from: i64,
    to: i64,
    cents: i64,
    compute: impl Future<Output = ()>,
) -> Result<(), sqlx::Error> {
    let balance = "SELECT cents FROM account WHERE id = $1";
    let debit: i64 = query_scalar(balance)
        .bind(from)
        .fetch_one(&mut **tx)
        .await?;
    let credit: i64 = query_scalar(balance).bind(to).fetch_one(&mut **tx).await?;
    compute.await;
    let write =
        "UPDATE account SET cents = CASE id WHEN $1 THEN $2 ELSE $4 END WHERE id IN ($1, $3)";
    let write = query(write)
        .bind(from)
        .bind(debit - cents)
        .bind(to)
        .bind(credit + cents);
    write.execute(&mut **tx).await.map(drop)
}

/// Creates the table with this number of accounts.
pub(crate) async fn set_up(pool: &PgPool, accounts: i64) -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE account (id bigint PRIMARY KEY, cents bigint NOT NULL)";
    query(table).execute(pool).await?;
    let fill = query("INSERT INTO account SELECT id, $2 FROM generate_series(1, $1) id");
    fill.bind(accounts)
        .bind(CENTS)
        .execute(pool)
        .await
        .map(drop)
}

/// Returns the balances of the accounts, ordered by id.
pub(crate) async fn balances(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let balances = query_scalar("SELECT cents FROM account ORDER BY id");
    balances.fetch_all(pool).await
}

/// Formats the sum of the balances.
pub(crate) fn total(balances: &[i64]) -> String {
    let cents: i64 = balances.iter().sum();
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(10).await;
    set_up(&pool, 3).await?;
    let before = total(&balances(&pool).await?);
    println!("three accounts with 100.00 each:                 {before}");

    // Move 10.00 in a circle. No transfer writes before all have read.
    let all_have_read = Barrier::new(3);
    let compute = || async {
        all_have_read.wait().await;
    };
    let circle = [(1, 2), (2, 3), (3, 1)];
    let transfers = circle.map(|(from, to)| transfer_unlocked(&pool, from, to, 1_000, compute()));
    try_join_all(transfers).await?;
    let after = total(&balances(&pool).await?);
    println!("without the lock, after 3 transfers in a circle: {after}");
    assert_ne!(after, before, "a transfer wrote a stale balance");

    // Move 10.00 around the circle 50 times in both directions, all at once: no balance differs in
    // the end.
    query("UPDATE account SET cents = $1")
        .bind(CENTS)
        .execute(&pool)
        .await?;
    let both_ways = circle
        .into_iter()
        .chain(circle.map(|(from, to)| (to, from)));
    let transfers = both_ways.cycle().take(300);
    let transfers = transfers.map(|(from, to)| transfer(&pool, from, to, 1_000, ready(())));
    try_join_all(transfers).await?;
    let balances = balances(&pool).await?;
    println!(
        "with the lock, after 300 transfers both ways:    {}",
        total(&balances)
    );
    assert_eq!(balances, [CENTS; 3], "no balance has changed");
    Ok(())
}
