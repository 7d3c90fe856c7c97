//! What becomes of holders and of those who wait.

use advisory_core::{lock, lock_shared};
use advisory_tests::{BackendRow, Database};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinHandle;

use crate::outcome::advisory;
use crate::scene::{self, assert_alive, assert_done, holder, pid, waiter, waiting};

#[tokio::test]
async fn a_terminated_holder_has_let_go_when_the_command_ends() {
    let database = Database::new().await;
    let (mut conn, pid) = holder(&database, "nightly").await;
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    assert!(database.advisory_locks().await.is_empty());
    let said = [&*format!("terminated {pid}"), "is free", "holds", "idle"];
    assert_done(&outcome, &said);
    assert!(conn.ping().await.is_err());
    assert!(!outcome.stdout.contains('\x1b'));
}

#[tokio::test]
async fn terminating_by_name_ends_the_holder_and_says_who_has_it_now() {
    let database = Database::new().await;
    let (_conn, pid) = holder(&database, "nightly").await;
    let mut next = database.connection().await;
    let next_pid = scene::pid(&mut next).await;
    let waiting = tokio::spawn(async move {
        lock(&mut next, "nightly").await.unwrap();
        next
    });
    database.wait_until_waiting(1).await;
    let outcome = advisory(&database, &["terminate", "--name", "nightly", "--yes"]).await;
    assert_done(
        &outcome,
        &[
            &format!("terminated {pid}"),
            &format!("went to pid {next_pid}"),
        ],
    );
    assert_alive(&mut waiting.await.unwrap()).await;
}

#[tokio::test]
async fn cancelling_by_name_ends_the_waits_and_leaves_the_holder() {
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
    assert_eq!(
        outcome.stdout.matches("cancelled").count(),
        2,
        "{}",
        outcome.stdout
    );
    assert_eq!(waiting(&database.advisory_locks().await), 0);
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

/// Runs a statement that takes its time on a connection that holds a lock.
async fn busy(database: &Database, mut conn: PgConnection) -> JoinHandle<PgConnection> {
    let busy = tokio::spawn(async move {
        conn.execute("SELECT pg_sleep(60)").await.unwrap_err();
        conn
    });
    let is_busy = |backend: &BackendRow| {
        backend.query.contains("pg_sleep") && backend.state.as_deref() == Some("active")
    };
    let reached = |backends: &[_]| backends.iter().any(is_busy);
    database.wait_until_backends("a busy one", reached).await;
    busy
}

#[tokio::test]
async fn a_busy_holder_is_cancelled_and_keeps_the_lock_of_its_session() {
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
async fn a_busy_holder_is_cancelled_and_loses_the_lock_of_its_transaction() {
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
async fn a_session_that_shares_many_locks_is_one_session() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    lock_shared(&mut conn, 42).await.unwrap();
    lock(&mut conn, 43).await.unwrap();
    let pid = pid(&mut conn).await;
    let outcome = advisory(&database, &["terminate", &pid, "--yes"]).await;
    assert_done(&outcome, &["holds, shared", "42 is free", "43 is free"]);
    assert_eq!(outcome.stdout.matches("terminated").count(), 1);
}
