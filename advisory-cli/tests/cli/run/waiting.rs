//! What `run` and `hold` say while they wait, and how they wait for a server.

use std::net::TcpListener;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Server, Shutdown};
use nix::sys::signal::Signal;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::command::{Running, advisory, command_with_url, output_of, with_stderr};
use crate::session::{holder, pid, take_lock};

#[tokio::test]
async fn a_verbose_wait_says_who_holds_the_lock_and_how_long_it_took() {
    let database = Database::new().await;
    let mut conn = holder(&database, "web advisory:a%20b", 42).await;
    let pid = pid(&mut conn).await;
    for command in [
        &["run", "-v", "-k", "42", "true"][..],
        &["hold", "-v", "-k", "42"],
    ] {
        let mut waiting = Running::start(with_stderr(&database.url(), command));
        let line = waiting.line().await;
        // The name is without the tag of the session.
        let expected = format!("advisory: waiting for 42, held by pid {pid} (web) for ");
        assert!(line.starts_with(&expected), "{line}");
        conn.execute("COMMIT").await.unwrap();
        let line = waiting.line().await;
        assert!(line.starts_with("advisory: 42 acquired after "), "{line}");
        assert!(line.ends_with(" s"), "{line}");
        waiting.signal(Signal::SIGTERM);
        waiting.end().await;
        database.wait_until_held(0).await;
        conn.execute("BEGIN").await.unwrap();
        take_lock(&mut conn, false, 42).await;
    }
}

#[tokio::test]
async fn elsewhere_a_wait_is_silent() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let outcome = advisory(&database, &["run", "-w", "1.5", "sync", "true"]).await;
    outcome.assert_only_fails(75, "`sync` not acquired");
    guard.release().await.unwrap();
}

/// A server that is down, and the database on it.
async fn stopped() -> (Server, Database) {
    let server = tokio::task::spawn_blocking(|| Server::start().unwrap());
    let server = server.await.unwrap();
    let database = Database::on(&server).await;
    server.stop(Shutdown::Fast).await;
    (server, database)
}

#[tokio::test]
async fn the_timeout_is_also_for_a_server_that_is_away() {
    let (server, database) = stopped().await;
    let arguments = ["run", "-v", "--timeout", "5m", "a", "echo", "ran"];
    let mut waiting = Running::start(with_stderr(&database.url(), &arguments));
    waiting
        .until("advisory: waiting for the server: cannot connect to ")
        .await;
    server.restart(Shutdown::Fast).await;
    waiting.until("ran\n").await;
    assert_eq!(waiting.end().await.code, 0);
}

#[tokio::test]
async fn a_server_that_stays_away_exits_with_69_after_the_timeout() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://nobody@{}/none", port.local_addr().unwrap());
    // Not answered.
    let silent = ["run", "--timeout", "0.5", "a", "true"];
    let outcome = output_of(command_with_url(&url, &silent)).await;
    outcome.assert_only_fails(69, "the server does not answer within 3 s");
    drop(port);
    let outcome = output_of(command_with_url(&url, &silent)).await;
    outcome.assert_only_fails(69, "cannot connect to ");
}

/// Only what can be over soon is tried again.
#[tokio::test]
async fn a_database_that_does_not_exist_is_not_waited_for() {
    let database = Database::new().await;
    let options = database.options().database("no such database");
    let url = options.to_url_lossy();
    let arguments = ["run", "--timeout", "1h", "a", "true"];
    let outcome = output_of(command_with_url(url.as_str(), &arguments)).await;
    outcome.assert_only_fails(69, "does not exist");
}
