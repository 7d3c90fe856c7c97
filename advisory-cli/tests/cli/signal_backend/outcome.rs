//! The outcome for holders and waiters.

use advisory_core::{Key, lock, lock_shared};
use advisory_tests::Database;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;

use super::session::{
    self, assert_alive, assert_count, assert_done, count_waiting, holder, pid, waiter,
};
use crate::command::advisory;
use crate::session::{wait, with_locks};

#[tokio::test]
async fn the_locks_of_a_terminated_session_are_free_when_the_command_ends() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    assert!(database.advisory_locks().await.is_empty());
    let texts = [&*format!("terminated {pid}"), "is free", "holds", "idle"];
    assert_done(&outcome, &texts);
    assert!(conn.ping().await.is_err());
    assert!(!outcome.text().contains('\x1b'));
}

#[tokio::test]
async fn terminating_by_name_prints_the_next_holder() {
    let database = Database::new().await;
    let (_conn, pid) = holder(&database, "nightly").await;
    let mut next = database.connection().await;
    next.execute("BEGIN").await.unwrap();
    let next_pid = session::pid(&mut next).await;
    let waiting = wait(&database, next, Key::from("nightly"), 1).await;
    let outcome = advisory(&database, &["terminate", "--name", "nightly", "--yes"]).await;
    let ended = format!("terminated {pid}");
    let next = format!("went to pid {next_pid}");
    assert_done(&outcome, &[&ended, &next]);
    assert_alive(&mut waiting.await.unwrap()).await;
}

#[tokio::test]
async fn cancelling_by_name_ends_the_waits_and_keeps_the_holder() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let waiters = [
        waiter(&database, "nightly").await,
        waiter(&database, "nightly").await,
    ];
    let outcome = advisory(&database, &["cancel", "--name", "nightly", "-y"]).await;
    assert_done(
        &outcome,
        &["it no longer waits for", &format!("which pid {pid} holds")],
    );
    assert_count(&outcome, "cancelled", 2);
    assert_eq!(count_waiting(&database.advisory_locks().await), 0);
    for waiter in waiters {
        let ended = waiter.await.unwrap().unwrap_err();
        assert!(ended.to_string().contains("canceling statement"), "{ended}");
    }
    assert_alive(&mut conn).await;
}

#[tokio::test]
async fn an_idle_holder_cannot_be_cancelled() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let refused = advisory(&database, &["cancel", &pid, "--yes"]).await;
    let remedy = format!("`advisory terminate {pid}`");
    refused.assert_fails(1, &["is idle: there is nothing to cancel", &remedy]);
    conn.execute("BEGIN").await.unwrap();
    let refused = advisory(&database, &["cancel", &pid, "--yes"]).await;
    refused.assert_fails(1, &["is idle", &remedy]);
    database.wait_until_held(1).await;
}

/// Runs a long statement on a connection that holds a lock.
async fn busy(database: &Database, mut conn: PgConnection) -> JoinHandle<PgConnection> {
    let busy = tokio::spawn(async move {
        conn.execute("SELECT pg_sleep(60)").await.unwrap_err();
        conn
    });
    database.wait_until_asleep().await;
    busy
}

#[tokio::test]
async fn a_cancelled_statement_keeps_the_session_lock() {
    let database = Database::new().await;
    let (conn, pid) = holder(&database, "nightly").await;
    let busy = busy(&database, conn).await;
    let outcome = advisory(&database, &["cancel", &pid, "--yes"]).await;
    let remedy = format!("`advisory terminate {pid}`");
    assert_done(
        &outcome,
        &[&format!("cancelled {pid}"), "it still holds", &remedy],
    );
    assert_alive(&mut busy.await.unwrap()).await;
}

#[tokio::test]
async fn a_cancelled_statement_frees_the_transaction_lock() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    conn.execute("BEGIN; SELECT pg_advisory_xact_lock(42)")
        .await
        .unwrap();
    let pid = pid(&mut conn).await;
    let busy = busy(&database, conn).await;
    let outcome = advisory(&database, &["cancel", &pid, "--yes"]).await;
    assert_done(&outcome, &[&format!("cancelled {pid}"), "42 is free"]);
    assert!(database.advisory_locks().await.is_empty());
    busy.await.unwrap();
}

#[tokio::test]
async fn a_session_with_several_locks_is_terminated_once() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    lock_shared(&mut conn, 42).await.unwrap();
    lock(&mut conn, 43).await.unwrap();
    let pid = pid(&mut conn).await;
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    assert_done(&outcome, &["holds, shared", "42 is free", "43 is free"]);
    assert_count(&outcome, "terminated", 1);
}

#[tokio::test]
async fn many_locks_of_a_terminated_session_are_one_line() {
    let database = Database::new().await;
    let mut conn = with_locks(&database, "tenants", 2_000).await;
    let pid = pid(&mut conn).await;
    let mut next = database.connection().await;
    next.execute("BEGIN").await.unwrap();
    let next_pid = session::pid(&mut next).await;
    let waiting = wait(&database, next, 7, 1).await;
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    outcome.assert_silent(0);
    let lines: Vec<_> = outcome.text().lines().collect();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(lines[1].contains(&pid), "{lines:#?}");
    assert!(
        lines[1].ends_with("holds  2000 locks (1, 2, 3, …)"),
        "{lines:#?}"
    );
    assert_eq!(
        lines[2..],
        [
            &format!("terminated {pid}"),
            "  1999 locks (1, 2, 3, …) are free",
            &format!("  7 went to pid {next_pid}"),
        ]
    );
    waiting.await.unwrap();
}

#[tokio::test]
async fn many_locks_of_a_session_that_is_not_ended_are_one_line() {
    let database = Database::new().await;
    let mut conn = with_locks(&database, "tenants", 100).await;
    let pid = pid(&mut conn).await;
    let refused = advisory(&database, &["cancel", &pid, "--yes"]).await;
    let held = format!("pid {pid} holds 100 locks (1, 2, 3, …) and is idle");
    refused.assert_only_fails(1, &held);
    let busy = busy(&database, conn).await;
    let outcome = advisory(&database, &["cancel", &pid, "--yes"]).await;
    assert_done(&outcome, &["  it still holds 100 locks (1, 2, 3, …); "]);
    assert_eq!(outcome.text().lines().count(), 4, "{}", outcome.text());
    busy.await.unwrap();
}

#[tokio::test]
async fn nothing_is_said_to_be_cancelled_where_activity_is_not_tracked() {
    let database = Database::new().await;
    let options = database.options().options([("track_activities", "off")]);
    let mut conn = PgConnection::connect_with(&options).await.unwrap();
    lock(&mut conn, 42).await.unwrap();
    let pid = pid(&mut conn).await;
    let unknown = advisory(&database, &["cancel", &pid, "--yes"]).await;
    unknown.assert_fails(1, &["still holds or waits for 42 after 5 s"]);
}
