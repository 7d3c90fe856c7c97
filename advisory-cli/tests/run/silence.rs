//! A network that goes silent, and a lock that others can have meanwhile.

use std::time::{Duration, Instant};

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Proxy};
use sqlx::ConnectOptions as _;
use tokio::process::Command;

use crate::command::{ADVISORY, Running, terminate_holders, with_url};

/// After `--probe 0.2` the server is asked, and has a second to answer.
const NOTICE: Duration = Duration::from_millis(1200);
/// `--grace 0.5`.
const GRACE: Duration = Duration::from_millis(500);
/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_secs(2);

async fn run(proxy: &Proxy, script: &str) -> Running {
    let url = proxy.options().to_url_lossy();
    let arguments = [
        "run", "a", "--probe", "0.2", "--grace", "0.5", "--", "sh", "-c", script,
    ];
    let mut run = Running::start(with_url(Command::new(ADVISORY), url.as_str(), &arguments));
    assert_eq!(run.line().await, "ready");
    run
}

/// The server cannot tell silence from idleness either, and leaves us the lock. Others can have it once the server ends our session: because
/// it restarts, because an administrator says so, or because its own system gives the connection up.
#[tokio::test]
async fn the_command_is_gone_in_time_after_others_can_hold_the_lock() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let proxy = Proxy::start(&database).await;
    // The end of its standard output is the end of the command; and it does not heed SIGTERM.
    let run = run(&proxy, "trap '' TERM; echo ready; exec cat").await;
    proxy.set_silent(true);
    terminate_holders(&database).await;
    let other = AdvisoryLock::new("a").wait_forever().acquire(&pool).await;
    let since = Instant::now();
    run.end().await.says(76, "the command was killed");
    let overlap = since.elapsed();
    println!("the command was gone {overlap:?} after others could hold the lock");
    assert!(overlap < NOTICE + GRACE + SLACK, "{overlap:?}");
    other.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn silence_alone_is_a_loss() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let run = run(&proxy, "echo ready; exec cat").await;
    proxy.set_silent(true);
    run.end().await.says(76, "the command was ended");
    proxy.set_silent(false);
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn a_release_that_nobody_confirms_is_a_loss_whatever_the_commands_code() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut run = run(&proxy, "echo ready; read line; exit 0").await;
    proxy.set_silent(true);
    run.close_input();
    run.end().await.says(
        76,
        "the command has ended (exit status: 0), but: advisory lock `a` was lost",
    );
    proxy.set_silent(false);
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}
