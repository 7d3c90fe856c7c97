//! A network that goes silent while the command runs.

use std::time::{Duration, Instant};

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Proxy};
use sqlx::ConnectOptions as _;

use crate::command::{Running, command_with_url, run_script};

/// `--probe 0.2`, and a second for the server's answer.
const NOTICE: Duration = Duration::from_millis(1200);
/// `--grace 0.5`.
const GRACE: Duration = Duration::from_millis(500);
/// The delay of a busy machine.
const SLACK: Duration = Duration::from_secs(2);

async fn run(proxy: &Proxy, script: &str) -> Running {
    let url = proxy.options().to_url_lossy();
    let arguments = run_script(&["--probe", "0.2", "--grace", "0.5"], script);
    Running::ready(command_with_url(url.as_str(), &arguments)).await
}

/// The server does not notice the silence either, and keeps the lock. Others can acquire it once
/// the server ends the session: because the server restarts, because the session is terminated, or
/// because the server's system gives up the connection.
#[tokio::test]
async fn the_command_ends_in_time_after_others_can_hold_the_lock() {
    let (database, pool) = Database::with_pool(1).await;
    let proxy = Proxy::start(&database).await;
    // Standard output ends when the command ends, and the command ignores SIGTERM.
    let run = run(&proxy, "trap '' TERM; echo ready; exec cat").await;
    proxy.set_silent(true);
    database.terminate_lockers().await;
    let other = AdvisoryLock::new("a").wait_forever().acquire(&pool).await;
    let acquired = Instant::now();
    run.fails(76, "the command was killed").await;
    let overlap = acquired.elapsed();
    println!("the command ended {overlap:?} after others could hold the lock");
    assert!(overlap < NOTICE + GRACE + SLACK, "{overlap:?}");
    other.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_silent_network_is_a_loss() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let run = run(&proxy, "echo ready; exec cat").await;
    proxy.set_silent(true);
    run.fails(76, "the command was ended").await;
    proxy.set_silent(false);
    database.assert_nothing_left().await;
}

#[tokio::test]
async fn an_unconfirmed_release_is_a_loss() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut run = run(&proxy, "echo ready; read line; exit 0").await;
    proxy.set_silent(true);
    run.close_input();
    run.fails(
        76,
        "the command has ended (exit status: 0), but: advisory lock `a` was lost",
    )
    .await;
    proxy.set_silent(false);
    database.assert_nothing_left().await;
}
