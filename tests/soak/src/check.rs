//! The checks and the report at the end.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use advisory_history::{
    Call, Fault, History, KeyReport, Outcome, Scope, Verdict, check, longest_overlap,
};
use advisory_tests::Database;
use comfy_table::Table;
use sqlx::PgConnection;

use crate::disruption::STOPPED;
use crate::fleet::{Log, lock};
use crate::layout::Layout;
use crate::tally::{LEAK, OVERLAP, UNEXPECTED};
use crate::update::{IN_SESSION, Workload};
use crate::{Soak, judge, leak, schema, table};

/// For how many milliseconds a section under `until_lost` may go on after the next grant: the
/// keepalive interval and the response timeout of [`update`](crate::update), and a second for a
/// busy machine.
const MOST_OVERLAP: i64 = 2_500;

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
            table: table::new(["check", "found"]),
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
    let violations = std::mem::take(&mut *lock(&log.violations));
    let overlaps = check_violations(&violations, &mut checks);
    check_database(&mut conn, &mut checks).await;
    if Layout::has_calm(soak.duration()) {
        let never = lock(&log.attempts).without("held");
        checks.add("verbs that were never granted", number(never));
    }
    let changes = changes(&mut conn, layout, log, overlaps, &mut checks).await;
    let judged = soak.history.as_deref();
    let judged = judged.and_then(|file| check_history(file, soak, layout, &mut checks));
    table::align(&mut checks.table, 1..2);
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
    if let Some((history, reports)) = judged {
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
    let left = leak::left(conn, "%").await;
    let left = left.unwrap_or_else(|error| panic!("the database can be queried: {error}"));
    checks.add("locks held or open transactions 2 s after the end", left);
    let lost = count(conn, schema::LOST).await;
    checks.add("keys whose number is not the length of their journal", lost);
    let unordered = count(conn, schema::UNORDERED).await;
    checks.add("fencing tokens that did not grow", unordered);
}

/// Returns how many of the violations are two holders at once.
fn check_violations(violations: &[String], checks: &mut Checks) -> i64 {
    let count = |kind| {
        let such = violations.iter().filter(|what| what.starts_with(kind));
        number(such.count())
    };
    let [overlaps, leaks, unexpected] = [OVERLAP, LEAK, UNEXPECTED].map(count);
    checks.add("processes that leak locks or transactions", leaks);
    checks.add("two holders at once", overlaps);
    checks.add("errors that no fault explains", unexpected);
    let others = number(violations.len()) - overlaps - leaks - unexpected;
    checks.add("hangs, panics, pools that are not whole", others);
    overlaps
}

/// Checks the history. `None` if it cannot be read.
fn check_history(
    file: &Path,
    soak: &Soak,
    layout: Layout,
    checks: &mut Checks,
) -> Option<(History, Vec<KeyReport>)> {
    let refused_keys = "keys whose history is not linearizable";
    let history = match judge::read(file) {
        Ok(history) => history,
        Err(error) => {
            eprintln!("soak: {}: {error}", file.display());
            checks.add(refused_keys, 1);
            return None;
        }
    };
    let reports = check(&history);
    checks.add(refused_keys, refused(&reports));
    if soak.without_faults {
        let unproven = unproven(&history, &reports);
        checks.add("grants that prove nothing without a fault", unproven);
    }
    let (longest, with_stops) = longest_overlaps(&history, layout);
    if Layout::has_calm(soak.duration()) {
        let too_long = (longest - MOST_OVERLAP).max(0);
        checks.add("ms that a section under `until_lost` is too late", too_long);
    }
    println!(
        "the longest time for which a section under `until_lost` went on after the next grant: \
         {longest} ms, in a process that was stopped {with_stops} ms\n",
    );
    Some((history, reports))
}

/// How many keys are refused or undecided.
fn refused(reports: &[KeyReport]) -> i64 {
    let is_refused = |report: &&KeyReport| report.verdict != Verdict::Accepted;
    number(reports.iter().filter(is_refused).count())
}

/// Changes that were lost, by workload.
async fn changes(
    conn: &mut PgConnection,
    layout: Layout,
    log: &Log,
    overlaps: i64,
    checks: &mut Checks,
) -> Table {
    let mut table = table::new(["changes", "made", "refused: too late", "lost"]);
    let counts = lock(&log.changes).take();
    let mut missing = 0;
    let mut row = |workload: &str, made: i64, lost: i64| {
        let acknowledged = counts.count(workload, "acknowledged");
        let acknowledged = i64::try_from(acknowledged).unwrap_or(i64::MAX);
        missing += (acknowledged - made).max(0);
        let late = counts.count(workload, "refused: too late");
        let counts = [made.to_string(), late.to_string(), lost.to_string()];
        table.add_row([workload.to_owned()].into_iter().chain(counts));
    };
    // A second writer of one number is an overlap.
    row(IN_SESSION, count(conn, schema::WRITTEN).await, overlaps);
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
    table::align(&mut table, 1..4);
    table
}

/// How many grants prove nothing, beyond those on a `LockSession` whose call was dropped.
fn unproven(history: &History, reports: &[KeyReport]) -> i64 {
    let is_dropped = |call: &&Call| {
        let has_returned = matches!(call.returned, Some((_, Outcome::Unconfirmed)));
        call.plan.scope == Scope::LockSession && call.granted.is_some() && !has_returned
    };
    let dropped = history.calls.iter().filter(is_dropped);
    let dropped: usize = dropped.map(|call| call.plan.keys.len()).sum();
    let unproven: usize = reports.iter().map(|report| report.unproven).sum();
    number(unproven.saturating_sub(dropped))
}

/// The longest moment between a loss and its notice in milliseconds: in a process that was not
/// stopped, and in any.
fn longest_overlaps(history: &History, layout: Layout) -> (i64, i64) {
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
    let milliseconds = |nanoseconds| i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX);
    (milliseconds(longest), milliseconds(with_stops))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn count(conn: &mut PgConnection, statement: &'static str) -> i64 {
    let count = sqlx::query_scalar(statement).fetch_one(conn).await;
    count.unwrap_or_else(|error| panic!("the database can be queried: {error}"))
}
