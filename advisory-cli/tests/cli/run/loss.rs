//! The lock is lost while the command runs.

use advisory_tests::{Cut, Database, Proxy};
use sqlx::ConnectOptions as _;

use crate::command::{Running, advisory_command, command_with_url, run_script};

async fn run(database: &Database, options: &[&str], script: &str) -> Running {
    Running::ready(advisory_command(database, &run_script(options, script))).await
}

#[tokio::test]
async fn the_command_gets_sigterm_and_the_exit_code_is_76() {
    let database = Database::new().await;
    let script = "trap 'echo terminated; exit 0' TERM; echo ready; read line";
    let mut run = run(&database, &[], script).await;
    database.terminate_lockers().await;
    assert_eq!(run.line().await, "terminated");
    let lost = "advisory lock `a` was lost: its session or transaction has ended, or other code \
                has released it; the command was ended";
    run.fails(76, lost).await;
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let database = Database::new().await;
    let script = "trap 'echo terminated' TERM; echo ready; while :; do read line; done";
    let mut run = run(&database, &["--grace", "0.3"], script).await;
    database.terminate_lockers().await;
    assert_eq!(run.line().await, "terminated");
    run.fails(76, "the command was killed, 300ms after SIGTERM")
        .await;
}

#[tokio::test]
async fn without_a_grace_period_the_command_is_killed_at_once() {
    let database = Database::new().await;
    let script = "trap 'echo terminated' TERM; echo ready; while :; do read line; done";
    let run = run(&database, &["--grace", "0"], script).await;
    database.terminate_lockers().await;
    // `assert_only_fails` checks that the trap printed nothing.
    run.fails(76, "; the command was killed").await;
}

#[tokio::test]
async fn a_closed_connection_is_a_loss() {
    let database = Database::new().await;
    for cut in [Cut::Fin, Cut::Reset] {
        let proxy = Proxy::start_tcp(&database);
        let url = proxy.options().to_url_lossy();
        let arguments = run_script(&[], "echo ready; exec cat");
        let run = Running::ready(command_with_url(url.as_str(), &arguments)).await;
        proxy.cut(cut).await;
        run.fails(76, "was lost").await;
    }
    database.assert_nothing_left().await;
}

#[cfg(target_os = "linux")]
mod processes {
    use super::*;
    use crate::process::{is_gone, wait_until_state, without_terminal};

    async fn run(database: &Database, options: &[&str], script: &str) -> Running {
        Running::ready(without_terminal(database, &run_script(options, script))).await
    }

    #[tokio::test]
    async fn without_a_terminal_grandchildren_are_killed_too() {
        let database = Database::new().await;
        let script = "echo ready; sh -c 'trap \"\" TERM; echo $$; exec cat'; true";
        let mut run = run(&database, &["--grace", "0.3"], script).await;
        let grandchild = run.line().await;
        database.terminate_lockers().await;
        run.fails(76, "was killed").await;
        wait_until_state(&grandchild, " Z").await;
    }

    #[tokio::test]
    async fn grandchildren_have_the_grace_period_too() {
        let database = Database::new().await;
        // The shell ends at once, and its child takes its time.
        let slow = "trap \"sleep 0.2; exit\" TERM; echo ready; echo $$; read line";
        let script = format!("sh -c '{slow}'; true");
        let mut run = run(&database, &[], &script).await;
        let grandchild = run.line().await;
        database.terminate_lockers().await;
        run.fails(76, "was ended").await;
        assert!(is_gone(&grandchild));
    }

    #[tokio::test]
    async fn a_stopped_command_is_continued_to_end() {
        let database = Database::new().await;
        let script = "echo ready; echo $$; exec cat";
        let mut run = run(&database, &["--grace", "3600"], script).await;
        let child = run.line().await;
        run.signal(nix::sys::signal::Signal::SIGTSTP);
        wait_until_state(&child, "T").await;
        database.terminate_lockers().await;
        run.fails(76, "was ended").await;
    }
}
