//! Signals that are sent to `advisory`.

use std::net::TcpListener;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::sys::signal::Signal::{
    self, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use tokio::process::Command;

use crate::command::{
    ADVISORY, Running, advisory_command, command_with_url, output_of, run_script, with_url,
};
use crate::process::{wait_until_state, without_terminal};

const ENDING: [Signal; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

fn name(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

async fn script(database: &Database, script: &str) -> Running {
    Running::ready(without_terminal(database, &run_script(&[], script))).await
}

#[tokio::test]
async fn signals_are_forwarded() {
    let database = Database::new().await;
    for signal in ENDING.into_iter().chain([SIGCONT, SIGWINCH]) {
        let name = name(signal);
        let trap = format!("trap 'echo {name}; exit 3' {name}; echo ready; read line");
        let mut run = script(&database, &trap).await;
        run.signal(signal);
        assert_eq!(run.line().await, name);
        run.end().await.assert_silent(3);
    }
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_command_that_survives_a_signal_keeps_the_lock() {
    let database = Database::new().await;
    let trap = "trap 'echo heard' TERM; echo ready; read line; read line; exit 5";
    let mut run = script(&database, trap).await;
    run.signal(SIGTERM);
    assert_eq!(run.line().await, "heard");
    database.wait_until_held(1).await;
    run.close_input();
    run.end().await.assert_silent(5);
}

#[tokio::test]
async fn a_forwarded_signal_that_ends_the_command_is_in_the_exit_code() {
    let database = Database::new().await;
    for signal in ENDING {
        let run = script(&database, "echo ready; exec cat").await;
        run.signal(signal);
        run.end().await.assert_silent(128 + signal as i32);
    }
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn without_a_terminal_signals_reach_grandchildren() {
    let database = Database::new().await;
    // The shell waits for its child, and would leave it behind.
    let mut run = script(&database, "echo ready; sh -c 'echo $$; exec cat'; true").await;
    let grandchild = run.line().await;
    run.signal(SIGTERM);
    run.end().await.assert_silent(143);
    wait_until_state(&grandchild, " Z").await;
}

#[tokio::test]
async fn a_stopped_and_continued_command_keeps_the_lock() {
    let database = Database::new().await;
    let mut run = script(&database, "echo ready; echo $$; read line; exit 4").await;
    let child = run.line().await;
    run.signal(SIGTSTP);
    wait_until_state(&child, "T").await;
    database.wait_until_held(1).await;
    run.signal(SIGCONT);
    wait_until_state(&child, "S").await;
    run.close_input();
    run.end().await.assert_silent(4);
}

#[tokio::test]
async fn a_signal_ends_the_wait_and_leaves_the_queue() {
    let (database, pool) = Database::with_pool(1).await;
    let holder = AdvisoryLock::new("a").acquire(&pool).await.unwrap();
    for signal in ENDING {
        let run = advisory_command(&database, &["run", "a", "--", "echo", "ran"]);
        let wait = Running::start(run);
        database.wait_until_waiting(1).await;
        wait.signal(signal);
        let outcome = wait.end().await;
        outcome.assert_silent(128 + signal as i32);
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
    let wait = Running::start(command_with_url(&url, &["run", "a", "--", "true"]));
    let (_connection, _) = tokio::task::spawn_blocking(move || silent.accept())
        .await
        .unwrap()
        .unwrap();
    wait.signal(SIGTERM);
    wait.end().await.assert_silent(143);
}

#[tokio::test]
async fn an_ignored_signal_stays_ignored() {
    let database = Database::new().await;
    let mut shell = Command::new("setsid");
    shell.args(["sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\"", ADVISORY]);
    let script = "kill -HUP $$; echo ready; read line; exit 6";
    let run = with_url(shell, &database.url(), &run_script(&[], script));
    let mut run = Running::ready(run).await;
    run.signal(SIGHUP);
    run.signal(SIGINT);
    run.close_input();
    run.end().await.assert_silent(6);
}

#[tokio::test]
async fn an_ignored_sigchld_keeps_the_exit_code() {
    let database = Database::new().await;
    // Not every shell can ignore SIGCHLD.
    let mut ignoring = Command::new("env");
    ignoring.args(["--ignore-signal=CHLD", ADVISORY]);
    let ignoring = with_url(ignoring, &database.url(), &run_script(&[], "exit 9"));
    output_of(ignoring).await.assert_silent(9);
}

#[tokio::test]
async fn the_command_dies_with_advisory() {
    let database = Database::new().await;
    let mut run = script(&database, "trap '' TERM; echo ready; echo $$; exec cat").await;
    let child = run.line().await;
    run.signal(SIGKILL);
    wait_until_state(&child, " Z").await;
    database.assert_nothing_left().await;
}
