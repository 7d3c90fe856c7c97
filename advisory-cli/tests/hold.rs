//! `advisory hold`: a lock that is held until it is enough.

#![cfg(unix)]

mod command;

use std::process::Stdio;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::command::{ADVISORY, Running, advisory, ended, terminate_holders, with_url};

const KEY: &str = "-2569294714323060629";
const HELD: &str = "advisory: holding `sync`, exclusive\n";

fn hold(database: &Database, options: &[&str]) -> Running {
    let arguments = [&["hold", "sync"], options].concat();
    Running::start(advisory(database, &arguments))
}

#[tokio::test]
async fn it_says_so_when_it_holds_and_a_signal_releases() {
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
        assert!(taken.is_none(), "it is held by the time it says so");
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
async fn its_session_tells_what_it_holds() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    let backends = database.backends().await;
    let tells = |name: &str| name.starts_with("advisory") && name.contains("sync");
    assert!(
        backends
            .iter()
            .any(|backend| tells(&backend.application_name)),
        "{backends:?}"
    );
    hold.signal(Signal::SIGTERM);
    assert_eq!(hold.end().await.code, 0);
}

#[tokio::test]
async fn the_end_of_input_releases_where_it_is_asked_for() {
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
async fn a_lost_lock_is_76() {
    let database = Database::new().await;
    let mut hold = hold(&database, &[]);
    assert_eq!(hold.line().await, KEY);
    terminate_holders(&database).await;
    let outcome = hold.end().await;
    let said = format!("{HELD}advisory: advisory lock `sync` was lost with its session\n");
    assert_eq!((outcome.code, outcome.stderr), (76, said));
}

#[tokio::test]
async fn a_lock_that_is_not_acquired_is_75_or_skipped() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let holder = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    for wait in [&["--no-wait"][..], &["--timeout", "0.05"]] {
        let arguments = [&["hold", "sync"], wait].concat();
        ended(advisory(&database, &arguments))
            .await
            .says(75, "`sync` not acquired");
    }
    ended(advisory(&database, &["hold", "sync", "--skip"]))
        .await
        .is_silent(0);
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
    hold.end().await.is_silent(143);
    database.wait_until_waiting(0).await;
    holder.release().await.unwrap();
}

#[tokio::test]
async fn without_a_reader_it_ends_and_releases() {
    let database = Database::new().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = advisory(&database, &["hold", "sync"]);
    let status = command.stdout(writer).stderr(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(1));
    database
        .assert_nothing_leaked(&database.pool(1).await)
        .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_69() {
    let url = "postgres:///none?host=/no/such/folder";
    let hold = with_url(Command::new(ADVISORY), url, &["hold", "sync"]);
    ended(hold).await.says(69, "cannot connect to ");
}
