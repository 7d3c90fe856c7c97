//! What `run` and `hold` say while they wait, and how they wait for a server.

use std::net::TcpListener;
use std::process::Stdio;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Server, Shutdown};
use nix::pty::openpty;
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStderr;
use tokio::time::timeout;

use crate::command::{TIMEOUT, advisory_command, assert_contains, command_with_url, output_of};
use crate::session::{holder, pid, take_lock};

/// The next line of standard error.
async fn next(lines: &mut Lines<BufReader<ChildStderr>>) -> String {
    let line = timeout(TIMEOUT, lines.next_line()).await;
    line.expect("there is a line")
        .unwrap()
        .expect("there is a line")
}

#[tokio::test]
async fn a_verbose_wait_says_who_holds_the_lock_and_how_long_it_took() {
    let database = Database::new().await;
    let mut conn = holder(&database, "web advisory:a%20b", 42).await;
    let pid = pid(&mut conn).await;
    for command in [
        &["run", "-v", "-k", "42", "true"][..],
        &["hold", "-v", "-k", "42"],
    ] {
        let mut command = advisory_command(&database, command);
        let command = command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut waiting = command.spawn().unwrap();
        let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
        let line = next(&mut lines).await;
        // The name is without the tag of the session.
        let expected = format!("advisory: waiting for 42, held by pid {pid} (web) for ");
        assert!(line.starts_with(&expected), "{line}");
        conn.execute("COMMIT").await.unwrap();
        let line = next(&mut lines).await;
        assert!(line.starts_with("advisory: 42 acquired after "), "{line}");
        assert!(line.ends_with(" s"), "{line}");
        waiting.kill().await.unwrap();
        database.wait_until_held(0).await;
        conn.execute("BEGIN").await.unwrap();
        take_lock(&mut conn, false, 42).await;
    }
}

#[tokio::test]
async fn a_wait_on_a_terminal_says_who_holds_the_lock() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let pid = database.advisory_locks().await[0].pid;
    let terminal = openpty(None, None).unwrap();
    let mut command = advisory_command(&database, &["run", "sync", "true"]);
    let mut waiting = command.stderr(terminal.slave).spawn().unwrap();
    drop(command);
    let screen = std::fs::File::from(terminal.master);
    let line = tokio::task::spawn_blocking(move || {
        use std::io::BufRead as _;
        let mut line = String::new();
        std::io::BufReader::new(screen)
            .read_line(&mut line)
            .unwrap();
        line
    });
    let line = timeout(TIMEOUT, line)
        .await
        .expect("there is a line")
        .unwrap();
    // In no transaction.
    let expected = format!("advisory: waiting for `sync`, held by pid {pid}");
    assert_contains(&line, &[&expected, "connected for"]);
    guard.release().await.unwrap();
    assert_eq!(waiting.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn elsewhere_a_wait_is_silent() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = AdvisoryLock::new("sync").acquire(&pool).await.unwrap();
    let command = advisory_command(&database, &["run", "-w", "1.5", "sync", "true"]);
    let outcome = output_of(command).await;
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
    let mut command = command_with_url(&database.url(), &arguments);
    let command = command.stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut waiting = command.spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = next(&mut lines).await;
    assert!(
        line.starts_with("advisory: waiting for the server: cannot connect to "),
        "{line}"
    );
    server.restart(Shutdown::Fast).await;
    let output = timeout(TIMEOUT, waiting.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (output.status.code(), &*output.stdout),
        (Some(0), &b"ran\n"[..])
    );
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
