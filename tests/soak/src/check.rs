//! The checks and the report at the end.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use advisory_history::{Call, Fault, History, KeyReport, Verdict, check, longest_overlap};
use advisory_tests::Database;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::disruption::STOPPED;
use crate::fleet::{Log, lock};
use crate::layout::Layout;
use crate::update::{IN_SESSION, Workload};
use crate::{Soak, judge, schema};

/// How long locks and transactions of a process may remain after its end.
const LEAK_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of violations that are printed.
const MAX_SHOWN: usize = 20;

/// Numbers that have to be zero.
struct Checks {
    table: Table,
    are_good: bool,
}

impl Checks {
    fn new() -> Self {
        Self {
            table: new_table(&["check", "found"]),
            are_good: true,
        }
    }

    fn add(&mut self, what: &str, found: i64) {
        self.are_good &= found == 0;
        self.table.add_row([what.to_owned(), found.to_string()]);
    }
}

/// Runs the checks, prints the report, and fails if a check has failed.
pub(crate) async fn report(
    soak: &Soak,
    layout: Layout,
    database: &Database,
    log: &Log,
    took: Duration,
) -> ExitCode {
    let mut conn = database.connection().await;
    let mut checks = Checks::new();
    check_database(&mut conn, &mut checks).await;
    let violations = std::mem::take(&mut *lock(&log.violations));
    let overlaps = check_violations(&violations, &mut checks);
    let changes = changes(&mut conn, layout, log, overlaps, &mut checks).await;
    let judged = soak.history.as_deref().map(|file| {
        let judged = read(file).map(|history| (check(&history), history));
        let refused = judged.as_ref().map_or(1, |(reports, _)| refused(reports));
        checks.add("keys whose history is not linearizable", refused);
        judged
    });
    align(&mut checks.table);
    let written = count(&mut conn, schema::WRITTEN).await;
    let tokens = count(&mut conn, schema::TOKENS).await;
    let attempts = lock(&log.attempts);
    println!("{}\n", attempts.table("verb"));
    println!("{}\n", lock(&log.chaos).table("survived"));
    println!("{changes}\n");
    println!("{}\n", checks.table);
    println!(
        "{} critical sections in {:.0} s, {written} rows written under a lock, {tokens} fencing tokens",
        attempts.total("held"),
        took.as_secs_f64(),
    );
    if let Some((reports, history)) = judged.flatten() {
        print_overlap(&history, layout);
        judge::print_summary(&history, &reports);
    }
    for violation in violations.iter().take(MAX_SHOWN) {
        println!("VIOLATION {violation}");
    }
    if checks.are_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Checks what is left in the database.
async fn check_database(conn: &mut PgConnection, checks: &mut Checks) {
    let left = left(conn).await;
    checks.add("locks held or open transactions 2 s after the end", left);
    checks.add(
        "keys whose number is not the length of their journal",
        count(conn, schema::LOST).await,
    );
    checks.add(
        "fencing tokens that did not grow",
        count(conn, schema::UNORDERED).await,
    );
}

/// Returns how many of the violations are two holders at once.
fn check_violations(violations: &[String], checks: &mut Checks) -> usize {
    let overlaps = violations
        .iter()
        .filter(|violation| violation.starts_with("overlap"))
        .count();
    checks.add("two holders at once", number(overlaps));
    let others = violations.len() - overlaps;
    checks.add("hangs, panics, pools that are not whole", number(others));
    overlaps
}

fn read(file: &Path) -> Option<History> {
    let history = judge::read(file);
    history
        .inspect_err(|error| eprintln!("soak: {}: {error}", file.display()))
        .ok()
}

fn refused(reports: &[KeyReport]) -> i64 {
    let refused = reports
        .iter()
        .filter(|report| report.verdict != Verdict::Accepted);
    number(refused.count())
}

/// Changes that were lost, by workload.
async fn changes(
    conn: &mut PgConnection,
    layout: Layout,
    log: &Log,
    overlaps: usize,
    checks: &mut Checks,
) -> Table {
    let mut table = new_table(&["changes", "made", "refused: too late", "lost"]);
    let counts = lock(&log.changes).take();
    let mut missing = 0;
    let mut row = |workload: &str, made: i64, lost: i64| {
        let acknowledged = counts.count(workload, "acknowledged");
        missing += i64::try_from(acknowledged)
            .unwrap_or(i64::MAX)
            .saturating_sub(made)
            .max(0);
        let late = counts.count(workload, "refused: too late");
        table.add_row([
            workload.to_owned(),
            made.to_string(),
            late.to_string(),
            lost.to_string(),
        ]);
    };
    // A second writer of one number is an overlap.
    row(
        IN_SESSION,
        count(conn, schema::WRITTEN).await,
        number(overlaps),
    );
    let keys: Vec<(i32, i64, i64, i64)> = sqlx::query_as(schema::CHANGES)
        .fetch_all(conn)
        .await
        .unwrap_or_else(|error| panic!("the database can be queried: {error}"));
    for workload in [Workload::UntilLost, Workload::Fenced] {
        let (mut made, mut lost, mut late) = (0, 0, 0);
        for (_, its, its_lost, its_late) in keys
            .iter()
            .filter(|(key, ..)| layout.is_of(workload, (*key).into()))
        {
            (made, lost, late) = (made + its, lost + its_lost, late + its_late);
        }
        row(workload.name(), made, lost);
        if workload == Workload::Fenced {
            checks.add("changes lost although they were fenced", lost);
            checks.add("late changes accepted although they were fenced", late);
        }
    }
    checks.add("acknowledged changes that are missing", missing);
    align(&mut table);
    table
}

/// Prints the longest moment between a loss and its notice.
fn print_overlap(history: &History, layout: Layout) {
    let is_stop = |fault: &&Fault| fault.fault.contains(STOPPED);
    let stops: Vec<_> = history.faults.iter().filter(is_stop).collect();
    let was_stopped = |call: &Call| {
        stops.iter().any(|stop| {
            let is_before = call.granted.is_some_and(|granted| granted <= stop.ended);
            let is_after = call.released.is_some_and(|released| released >= stop.began);
            stop.process == Some(call.plan.process) && is_before && is_after
        })
    };
    let is_of_workload =
        |key| layout.is_of(Workload::UntilLost, key) || layout.is_of(Workload::Fenced, key);
    let longest = longest_overlap(history, |call, key| {
        is_of_workload(key) && !was_stopped(call)
    });
    let with_stops = longest_overlap(history, |_, key| is_of_workload(key));
    println!(
        "the longest time for which a section under `until_lost` went on after the next grant: \
         {} ms, in a process that was stopped {} ms",
        longest / 1_000_000,
        with_stops / 1_000_000,
    );
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// Numbers are aligned to the right, after the first column.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
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
