//! The checks and the report at the end.

use std::process::ExitCode;
use std::time::Duration;

use advisory_tests::Database;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::fleet::{Log, lock};
use crate::schema;

/// How long locks and transactions of a process may remain after its end.
const LEAK_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of violations that are printed.
const MAX_SHOWN: usize = 20;

/// Runs the checks, prints the report, and fails if a check has failed.
pub(crate) async fn report(database: &Database, log: &Log, took: Duration) -> ExitCode {
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
    let violations = std::mem::take(&mut *lock(&log.violations));
    let overlaps = violations
        .iter()
        .filter(|violation| violation.starts_with("overlap"))
        .count();
    check("two holders at once", number(overlaps));
    let others = violations.len() - overlaps;
    check("hangs, panics, pools that are not whole", number(others));
    for column in checks.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let written = count(&mut conn, schema::WRITTEN).await;
    let tokens = count(&mut conn, schema::TOKENS).await;
    let attempts = lock(&log.attempts);
    println!("{}\n", attempts.table("verb"));
    println!("{}\n", lock(&log.chaos).table("survived"));
    println!("{checks}\n");
    println!(
        "{} critical sections in {:.0} s, {written} rows written under a lock, {tokens} fencing tokens",
        attempts.total("held"),
        took.as_secs_f64(),
    );
    for violation in violations.iter().take(MAX_SHOWN) {
        println!("VIOLATION {violation}");
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

/// The number of locks and open transactions, once there are none or after two seconds.
async fn left(conn: &mut PgConnection) -> i64 {
    let deadline = Instant::now() + LEAK_TIMEOUT;
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
    count.unwrap_or_else(|error| panic!("the database can be queried: {error}"))
}
