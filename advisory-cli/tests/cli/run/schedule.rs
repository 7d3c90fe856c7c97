//! `run --every` and `run --at-least`: how often a command runs.

use std::time::{Duration, Instant};

use advisory_tests::Database;
use nix::sys::signal::Signal;

use crate::command::{Outcome, Running, advisory, advisory_command, run_script};

/// Every moment of a test is in one of at most two such periods.
const LONG: &str = "520w";

async fn database() -> Database {
    let database = Database::new().await;
    advisory(&database, &["setup"]).await.assert_silent(0);
    database
}

async fn run(database: &Database, options: &[&str], script: &str) -> Outcome {
    advisory(database, &run_script(options, script)).await
}

#[tokio::test]
async fn a_command_that_has_succeeded_does_not_run_again_in_the_period() {
    let database = database().await;
    for expected in ["ran\n", ""] {
        let outcome = run(&database, &["--every", LONG], "echo ran").await;
        outcome.assert_silent(0);
        assert_eq!(outcome.text(), expected);
    }
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_verbose_run_says_why_the_command_is_skipped() {
    let database = database().await;
    run(&database, &["--every", LONG], "true").await;
    let mut holder = database.connection().await;
    advisory_core::lock(&mut holder, "held").await.unwrap();
    for (arguments, reason) in [
        (
            &["run", "-v", "a", "--every", LONG, "true"][..],
            "skipped: `a` has run in this period",
        ),
        (
            &["run", "-v", "held", "--skip", "true"],
            "skipped: advisory lock `held` not acquired after",
        ),
    ] {
        let outcome = advisory(&database, arguments).await;
        assert_eq!((outcome.code, outcome.text()), (0, ""), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_command_that_fails_or_is_lost_leaves_the_period_open() {
    let database = database().await;
    let every = ["--every", LONG, "--offset", "3h30m"];
    run(&database, &every, "exit 3").await.assert_silent(3);
    let arguments = run_script(&every, "echo ran; exec cat");
    let mut lost = Running::start(advisory_command(&database, &arguments));
    assert_eq!(lost.line().await, "ran");
    database.terminate_lockers().await;
    lost.fails(76, "was lost").await;
    let outcome = run(&database, &every, "echo $ADVISORY_FENCE").await;
    outcome.assert_silent(0);
    assert!(outcome.text().trim().parse::<i64>().is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn without_the_table_the_error_has_the_statement_that_creates_it() {
    let database = Database::new().await;
    let table = ["--every", "1d", "--table", "marks", "--schema", "jobs"];
    run(&database, &table, "echo ran").await.assert_only_fails(
        70,
        "`advisory setup` (`--table`, `--schema`), or a migration: CREATE TABLE IF NOT EXISTS \"jobs\".\"marks\" (key pg_catalog.text PRIMARY KEY",
    );
    let printed = advisory(&database, &["setup", "--table", "marks", "--print"]).await;
    printed.assert_silent(0);
    assert!(
        printed
            .text()
            .starts_with("CREATE TABLE IF NOT EXISTS \"marks\"")
    );
}

#[tokio::test]
async fn a_short_command_keeps_its_lock_also_if_it_was_asked_to_reload() {
    let database = Database::new().await;
    let started = Instant::now();
    let script = "trap 'echo reloads' HUP; echo ran; read line; read line; exit 3";
    let arguments = run_script(&["--at-least", "1.5"], script);
    let mut first = Running::start(advisory_command(&database, &arguments));
    assert_eq!(first.line().await, "ran");
    first.signal(Signal::SIGHUP);
    assert_eq!(first.line().await, "reloads");
    first.close_input();
    let second = run(&database, &["--skip"], "echo ran").await;
    second.assert_silent(0);
    // A busy machine may take longer than the lock is kept.
    assert!(second.stdout.is_empty() || started.elapsed() > Duration::from_millis(1500));
    first.end().await.assert_silent(3);
    assert!(started.elapsed() >= Duration::from_millis(1500));
}

#[tokio::test]
async fn a_signal_ends_the_time_for_which_a_lock_is_kept() {
    let database = Database::new().await;
    let arguments = run_script(&["--at-least", "3600"], "echo ran");
    let mut kept = Running::start(advisory_command(&database, &arguments));
    assert_eq!(kept.line().await, "ran");
    kept.signal(Signal::SIGTERM);
    let outcome = kept.end().await;
    // The signal may still reach the command.
    assert!(matches!(outcome.code, 0 | 143), "{outcome:?}");
    database.assert_nothing_left().await;
}
