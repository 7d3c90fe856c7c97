//! What must hold when it is over.

use std::process::ExitCode;
use std::time::Duration;

use advisory_tests::Database;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::fleet::{Log, lock};
use crate::schema;

/// How long the traces of a process that has ended may stay: promise 1 of the design.
const GRACE: Duration = Duration::from_secs(2);

/// As many faults as are shown.
const MOST_SHOWN: usize = 20;

/// Looks, prints, and fails if anything was wrong.
pub(crate) async fn verdict(database: &Database, log: &Log, took: Duration) -> ExitCode {
    let mut conn = database.connection().await;
    let left = left(&mut conn).await;
    let mut checks = Table::new();
    checks.load_style(ASCII_MARKDOWN);
    checks.set_header(["check", "found"]);
    let mut is_good = true;
    let mut check = |what: &str, found: i64| {
        is_good &= found == 0;
        checks.add_row([what.to_owned(), found.to_string()]);
    };
    check("locks held or open transactions 2 s after the end", left);
    check(
        "keys whose number is not the length of their journal",
        count(&mut conn, schema::LOST).await,
    );
    check(
        "fencing tokens that did not grow",
        count(&mut conn, schema::UNORDERED).await,
    );
    let faults = std::mem::take(&mut *lock(&log.faults));
    let overlaps = faults
        .iter()
        .filter(|fault| fault.starts_with("overlap"))
        .count();
    check("two holders at once", number(overlaps));
    let others = faults.len() - overlaps;
    check("hangs, panics, pools that are not whole", number(others));
    for column in checks.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let written = count(&mut conn, schema::WRITTEN).await;
    let tokens = count(&mut conn, schema::TOKENS).await;
    let stays = lock(&log.stays);
    println!("{}\n", stays.table("way"));
    println!("{}\n", lock(&log.chaos).table("survived"));
    println!("{checks}\n");
    println!(
        "{} stays in {:.0} s, {written} rows written under a lock, {tokens} fencing tokens",
        stays.total("held"),
        took.as_secs_f64(),
    );
    for fault in faults.iter().take(MOST_SHOWN) {
        println!("FAULT {fault}");
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What is locked or open, as soon as it is nothing, or when it should be.
async fn left(conn: &mut PgConnection) -> i64 {
    let deadline = Instant::now() + GRACE;
    loop {
        let left = count(conn, schema::LEFT).await;
        if left == 0 || Instant::now() > deadline {
            return left;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn count(conn: &mut PgConnection, statement: &'static str) -> i64 {
    let count = sqlx::query_scalar(statement).fetch_one(conn).await;
    count.unwrap_or_else(|error| panic!("the database can be asked: {error}"))
}
