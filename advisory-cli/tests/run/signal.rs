//! Signals, to us and to the command.

use std::net::TcpListener;

use advisory_tests::Database;
use nix::sys::signal::Signal::{
    self, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use tokio::process::Command;

use crate::command::{ADVISORY, Running, advisory, with_url};
use crate::process::{wait_until_state, without_terminal};

const ENDING: [Signal; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

fn name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

async fn script(database: &Database, script: &str) -> Running {
    let mut run = Running::start(without_terminal(
        database,
        &["run", "a", "--", "sh", "-c", script],
    ));
    assert_eq!(run.line().await, "ready");
    run
}

#[tokio::test]
async fn signals_are_passed_on() {
    let database = Database::new().await;
    for signal in ENDING.into_iter().chain([SIGCONT, SIGWINCH]) {
        let name = name(signal);
        let trap = format!("trap 'echo {name}; exit 3' {name}; echo ready; read line");
        let mut run = script(&database, &trap).await;
        run.signal(signal);
        assert_eq!(run.line().await, name);
        run.end().await.is_silent(3);
    }
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn a_command_that_does_not_heed_a_signal_keeps_the_lock() {
    let database = Database::new().await;
    let mut run = script(
        &database,
        "trap 'echo heard' TERM; echo ready; read line; read line; exit 5",
    )
    .await;
    run.signal(SIGTERM);
    assert_eq!(run.line().await, "heard");
    database.wait_until_held(1).await;
    run.close_input();
    run.end().await.is_silent(5);
}

#[tokio::test]
async fn a_signal_that_ends_the_command_is_in_our_code() {
    let database = Database::new().await;
    for signal in ENDING {
        let run = script(&database, "echo ready; exec cat").await;
        run.signal(signal);
        run.end().await.is_silent(128 + signal as i32);
    }
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn without_a_terminal_signals_reach_what_a_script_has_started() {
    let database = Database::new().await;
    // The shell waits, and would leave its child behind.
    let mut run = script(&database, "echo ready; sh -c 'echo $$; exec cat'; true").await;
    let grandchild = run.line().await;
    run.signal(SIGTERM);
    run.end().await.is_silent(143);
    wait_until_state(&grandchild, " Z").await;
}

#[tokio::test]
async fn a_command_is_stopped_and_continued_through_us_and_keeps_the_lock() {
    let database = Database::new().await;
    let mut run = script(&database, "echo ready; echo $$; read line; exit 4").await;
    let child = run.line().await;
    run.signal(SIGTSTP);
    wait_until_state(&child, "T").await;
    database.wait_until_held(1).await;
    run.signal(SIGCONT);
    wait_until_state(&child, "S").await;
    run.close_input();
    run.end().await.is_silent(4);
}

#[tokio::test]
async fn a_signal_ends_the_wait_and_leaves_the_queue() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let holder = advisory_core::AdvisoryLock::new("a")
        .acquire(&pool)
        .await
        .unwrap();
    for signal in ENDING {
        let wait = Running::start(advisory(&database, &["run", "a", "--", "echo", "ran"]));
        database.wait_until_waiting(1).await;
        wait.signal(signal);
        let outcome = wait.end().await;
        outcome.is_silent(128 + signal as i32);
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
        database.wait_until_waiting(0).await;
    }
    holder.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_server_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none", silent.local_addr().unwrap());
    let wait = Running::start(with_url(
        Command::new(ADVISORY),
        &url,
        &["run", "a", "--", "true"],
    ));
    let (_connection, _) = tokio::task::spawn_blocking(move || silent.accept())
        .await
        .unwrap()
        .unwrap();
    wait.signal(SIGTERM);
    wait.end().await.is_silent(143);
}

#[tokio::test]
async fn a_signal_that_was_ignored_before_us_stays_ignored() {
    let database = Database::new().await;
    let mut shell = Command::new("setsid");
    shell.args(["sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\"", ADVISORY]);
    let script = "kill -HUP $$; echo ready; read line; exit 6";
    let shell = with_url(
        shell,
        &database.url(),
        &["run", "a", "--", "sh", "-c", script],
    );
    let mut run = Running::start(shell);
    assert_eq!(run.line().await, "ready");
    run.signal(SIGHUP);
    run.signal(SIGINT);
    run.close_input();
    run.end().await.is_silent(6);
}

#[tokio::test]
async fn a_parent_that_ignores_its_children_does_not_cost_us_the_code() {
    let database = Database::new().await;
    // Not every shell can be told to ignore it.
    let mut ignoring = Command::new("env");
    ignoring.args(["--ignore-signal=CHLD", ADVISORY]);
    let run = ["run", "a", "--", "sh", "-c", "exit 9"];
    let ignoring = with_url(ignoring, &database.url(), &run);
    crate::command::ended(ignoring).await.is_silent(9);
}

#[tokio::test]
async fn a_command_does_not_outlive_us() {
    let database = Database::new().await;
    let mut run = script(&database, "trap '' TERM; echo ready; echo $$; exec cat").await;
    let child = run.line().await;
    run.signal(SIGKILL);
    wait_until_state(&child, " Z").await;
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}
