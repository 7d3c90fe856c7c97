//! `advisory hold`.

#![cfg(unix)]

mod command;

use std::process::Stdio;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::sys::signal::Signal;

use crate::command::{
    Running, advisory, advisory_command, command_with_url, output_of, terminate_holders,
};

const KEY: &str = "-2569294714323060629";
const HELD: &str = "advisory: holding `sync`, exclusive\n";

fn hold(database: &Database, options: &[&str]) -> Running {
    let arguments = [&["hold", "sync"], options].concat();
    Running::start(advisory_command(database, &arguments))
}

#[tokio::test]
async fn the_key_is_printed_once_held_and_a_signal_releases() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let mut hold = hold(&database, &[]);
        assert_eq!(hold.line().await, KEY);
        let taken = AdvisoryLock::new("sync").try_acquire(&pool).await.unwrap();
        assert!(taken.is_none(), "it is held once its key is printed");
        hold.signal(signal);
        let outcome = hold.end().await;
        assert_eq!((outcome.code, &*outcome.stderr), (0, HELD), "{outcome:?}");
        assert!(
            database.advisory_locks().await.is_empty(),
            "released by its end"
        );
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_session_is_tagged_with_the_lock() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    let backends = database.backends().await;
    let is_tagged = |name: &str| name.starts_with("advisory") && name.contains("sync");
    assert!(
        backends
            .iter()
            .any(|backend| is_tagged(&backend.application_name)),
        "{backends:?}"
    );
    hold.signal(Signal::SIGTERM);
    assert_eq!(hold.end().await.code, 0);
}

#[tokio::test]
async fn until_eof_releases_at_the_end_of_input() {
    let database = Database::new().await;
    let mut hold = hold(&database, &["--until-eof", "--shared"]);
    assert_eq!(hold.line().await, KEY);
    hold.write(b"not yet\n").await.unwrap();
    hold.close_input();
    let outcome = hold.end().await;
    assert_eq!(
        (outcome.code, &*outcome.stderr),
        (0, "advisory: holding `sync`, shared\n")
    );
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn a_lost_lock_exits_with_76() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    terminate_holders(&database).await;
    let outcome = hold.end().await;
    let stderr = format!(
        "{HELD}advisory: advisory lock `sync` was lost: its session or transaction has ended\n"
    );
    assert_eq!((outcome.code, outcome.stderr), (76, stderr));
}

#[tokio::test]
async fn a_taken_lock_exits_with_75_or_is_skipped() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    for wait in [&["--no-wait"][..], &["--timeout", "0.05"]] {
        let arguments = [&["hold", "sync"], wait].concat();
        advisory(&database, &arguments)
            .await
            .assert_only_fails(75, "`sync` not acquired");
    }
    advisory(&database, &["hold", "sync", "--skip"])
        .await
        .assert_silent(0);
    holder.release().await.unwrap();
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let hold = hold(&database, &[]);
    database.wait_until_waiting(1).await;
    hold.signal(Signal::SIGTERM);
    hold.end().await.assert_silent(143);
    database.wait_until_waiting(0).await;
    holder.release().await.unwrap();
}

#[tokio::test]
async fn a_closed_standard_output_releases() {
    let database = Database::new().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = advisory_command(&database, &["hold", "sync"]);
    let status = command.stdout(writer).stderr(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(1));
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn an_unreachable_server_exits_with_69() {
    let url = "postgres:///none?host=/no/such/folder";
    let hold = command_with_url(url, &["hold", "sync"]);
    output_of(hold)
        .await
        .assert_only_fails(69, "cannot connect to ");
}
