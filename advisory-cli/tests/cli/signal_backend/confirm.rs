//! The confirmation.

use std::process::{Output, Stdio};

use advisory_core::lock;
use advisory_tests::Database;
use sqlx::Executor as _;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::session::{assert_alive, holder, pid};
use crate::command::{advisory, advisory_command, assert_contains};
use crate::terminal::Terminal;

#[tokio::test]
async fn nothing_is_sent_without_confirmation() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    for arguments in [
        &["terminate", &*pid][..],
        &["terminate", "--name", "nightly"],
    ] {
        let refused = advisory(&database, arguments).await;
        refused.assert_fails(2, &["nothing was sent", "not a terminal", "`--yes`"]);
        assert_contains(refused.text(), &[&pid]);
    }
    assert_alive(&mut conn).await;
}

/// Starts a command on a terminal, and returns when it asks for confirmation.
async fn asked(terminal: &Terminal, database: &Database, arguments: &[&str]) -> Child {
    let mut command = advisory_command(database, arguments);
    command
        .stdin(terminal.end())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut question = BufReader::new(child.stderr.take().unwrap());
    let mut read = Vec::new();
    while !read.ends_with(b"[y/N] ") {
        let byte = question.read_u8().await;
        read.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read))));
    }
    child.stderr = Some(question.into_inner());
    child
}

/// The exit code, standard output and standard error.
async fn end(child: Child) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn only_yes_sends_the_signal() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    for no in ["n", "", "why?"] {
        let mut terminal = Terminal::new();
        let child = asked(&terminal, &database, &["terminate", &pid]).await;
        terminal.enter(no);
        let (code, stdout, stderr) = end(child).await;
        assert_eq!((code, &*stderr), (Some(1), "advisory: nothing was sent\n"));
        assert_contains(&stdout, &[&pid, "holds"]);
        assert_alive(&mut conn).await;
    }
    let mut terminal = Terminal::new();
    let child = asked(&terminal, &database, &["terminate", &pid]).await;
    terminal.enter("y");
    let (code, stdout, stderr) = end(child).await;
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(stdout.contains("is free"), "{stdout}");
    assert!(database.advisory_locks().await.is_empty());
}

#[tokio::test]
async fn a_session_that_released_the_lock_meanwhile_is_not_signalled() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let mut terminal = Terminal::new();
    let child = asked(&terminal, &database, &["terminate", &pid]).await;
    advisory_core::unlock(&mut conn, "nightly").await.unwrap();
    lock(&mut conn, "something else").await.unwrap();
    terminal.enter("yes");
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_contains(&stderr, &["has moved on; nothing was sent"]);
    assert_alive(&mut conn).await;
}

#[tokio::test]
async fn a_waiter_that_was_granted_the_lock_meanwhile_is_not_cancelled() {
    let database = Database::new().await;
    let (mut first, _) = holder(&database, "nightly").await;
    let mut second = database.connection().await;
    let second_pid = pid(&mut second).await;
    // A lock that it keeps.
    lock(&mut second, "something else").await.unwrap();
    let works = tokio::spawn(async move {
        lock(&mut second, "nightly").await.unwrap();
        // Long enough to be cancelled.
        let work = second.execute("SELECT pg_sleep(60)").await;
        work.map(drop)
    });
    database.wait_until_waiting(1).await;
    let mut terminal = Terminal::new();
    let child = asked(&terminal, &database, &["cancel", &second_pid]).await;
    first
        .execute("SELECT pg_advisory_unlock_all()")
        .await
        .unwrap();
    database.wait_until_waiting(0).await;
    terminal.enter("y");
    let (code, _, stderr) = end(child).await;
    assert_eq!(code, Some(1));
    assert!(stderr.contains("has moved on"), "{stderr}");
    assert!(!works.is_finished());
    works.abort();
}
