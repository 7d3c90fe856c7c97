//! Nobody is ended unasked.

use std::process::{Output, Stdio};

use advisory_core::lock;
use advisory_tests::Database;
use sqlx::Executor as _;
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::Child;

use crate::outcome::{advisory, command};
use crate::scene::{assert_alive, holder, pid};
use crate::terminal::Terminal;

#[tokio::test]
async fn nobody_is_ended_unasked() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    for arguments in [
        &["terminate", &*pid][..],
        &["terminate", "--name", "nightly"],
    ] {
        let refused = advisory(&database, arguments).await;
        refused.assert_fails(2, &["nothing was sent", "not a terminal", "`--yes`"]);
        assert!(refused.stdout.contains(&pid), "{}", refused.stdout);
    }
    assert_alive(&mut conn).await;
}

/// Starts a command at a terminal, and returns when it asks.
async fn asked(terminal: &Terminal, database: &Database, arguments: &[&str]) -> Child {
    let mut command = command(&database.url(), arguments);
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

fn text(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn who_says_no_has_sent_nothing_and_who_says_yes_has() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    for no in ["n", "", "why?"] {
        let mut terminal = Terminal::new();
        let child = asked(&terminal, &database, &["terminate", &pid]).await;
        terminal.enter(no);
        let (code, shown, said) = text(child.wait_with_output().await.unwrap());
        assert_eq!((code, &*said), (Some(1), "advisory: nothing was sent\n"));
        assert!(shown.contains(&pid) && shown.contains("holds"), "{shown}");
        assert_alive(&mut conn).await;
    }
    let mut terminal = Terminal::new();
    let child = asked(&terminal, &database, &["terminate", &pid]).await;
    terminal.enter("y");
    let (code, shown, said) = text(child.wait_with_output().await.unwrap());
    assert_eq!((code, &*said), (Some(0), ""));
    assert!(shown.contains("is free"), "{shown}");
    assert!(database.advisory_locks().await.is_empty());
}

#[tokio::test]
async fn who_has_moved_on_while_it_was_asked_is_left_alone() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let mut terminal = Terminal::new();
    let child = asked(&terminal, &database, &["terminate", &pid]).await;
    advisory_core::unlock(&mut conn, "nightly").await.unwrap();
    lock(&mut conn, "something else").await.unwrap();
    terminal.enter("yes");
    let (code, _, said) = text(child.wait_with_output().await.unwrap());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("has moved on; nothing was sent"), "{said}");
    assert_alive(&mut conn).await;
}

#[tokio::test]
async fn who_waited_and_has_the_lock_by_now_is_not_cancelled() {
    let database = Database::new().await;
    let (mut first, _) = holder(&database, "nightly").await;
    let mut second = database.connection().await;
    let second_pid = pid(&mut second).await;
    // This one it keeps.
    lock(&mut second, "something else").await.unwrap();
    let works = tokio::spawn(async move {
        lock(&mut second, "nightly").await.unwrap();
        // Long enough to be hit.
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
    let (code, _, said) = text(child.wait_with_output().await.unwrap());
    assert_eq!(code, Some(1));
    assert!(said.contains("has moved on"), "{said}");
    assert!(!works.is_finished());
    works.abort();
}
