//! What is refused, and the advice.

use advisory_tests::{Database, Server};
use sqlx::Executor as _;

use super::session::{assert_alive, assert_count, count_waiting, holder, pid, waiter};
use crate::command::{advisory, advisory_as};

#[tokio::test]
async fn a_pid_without_locks_is_not_signalled() {
    let database = Database::new().await;
    let mut stranger = database.connection().await;
    let stranger_pid = pid(&mut stranger).await;
    for verb in ["cancel", "terminate"] {
        for pid in [&*stranger_pid, "2147483647"] {
            let refused = advisory(&database, &[verb, pid, "--yes"]).await;
            let message = format!("pid {pid} holds no advisory lock and waits for none");
            refused.assert_fails(1, &[&message]);
            assert_eq!(refused.text(), "");
        }
    }
    let prepared = advisory(&database, &["terminate", "0", "--yes"]).await;
    prepared.assert_fails(1, &["no prepared transaction"]);
    assert_alive(&mut stranger).await;

    // The other sessions are terminated all the same.
    let (_conn, pid) = holder(&database, "nightly").await;
    let some = advisory(
        &database,
        &["terminate", &stranger_pid, &pid, &pid, "--yes"],
    )
    .await;
    some.assert_fails(1, &[&stranger_pid]);
    assert_count(&some, "terminated", 1);
    assert!(database.advisory_locks().await.is_empty());
}

#[tokio::test]
async fn a_free_lock_is_a_failure_of_one_line() {
    let database = Database::new().await;
    for (arguments, message) in [
        (&["cancel"][..], "nobody waits for advisory lock `free`"),
        (&["terminate"], "nobody holds advisory lock `free`"),
        (
            &["cancel", "--waiters", "--holders"],
            "nobody holds or waits for advisory lock `free`",
        ),
    ] {
        let arguments = [arguments, &["--name", "free"]].concat();
        advisory(&database, &arguments)
            .await
            .assert_fails(1, &[message]);
    }
}

#[tokio::test]
async fn a_role_without_the_privilege_gets_advice() {
    let database = Database::new().await;
    let (_conn, pid) = holder(&database, "nightly").await;
    let waiting = waiter(&database, "nightly").await;
    let role = database.role().await;
    for arguments in [
        &["cancel", "--name", "nightly"][..],
        &["cancel", &pid],
        &["terminate", &pid],
    ] {
        let refused = advisory_as(&role, &[arguments, &["--yes"]].concat()).await;
        refused.assert_fails(
            77,
            &["this role may not", "`pg_signal_backend`", "superuser"],
        );
    }
    assert_eq!(waiting_and_held(&database).await, (1, 1));
    waiting.abort();
    database.wait_until_waiting(0).await;
}

async fn waiting_and_held(database: &Database) -> (usize, usize) {
    let locks = database.advisory_locks().await;
    let waiting = count_waiting(&locks);
    (waiting, locks.len() - waiting)
}

#[tokio::test]
async fn a_prepared_transaction_is_refused_with_its_rollback_statement_in_printable_text() {
    let settings = [("max_prepared_transactions", "2")];
    let server = Server::start_with(&settings).unwrap();
    let database = Database::on(&server).await;
    let mut conn = database.connection().await;
    let prepare = "BEGIN; SELECT pg_advisory_xact_lock(42); PREPARE TRANSACTION E'it''s\\x1b7'";
    conn.execute(sqlx::raw_sql(prepare)).await.unwrap();
    let remedy = format!(
        "`ROLLBACK PREPARED 'it''s\u{fffd}7'` in database `{}`",
        database.name()
    );
    for arguments in [
        &["terminate", "--name", "42", "--key"][..],
        &["cancel", "--name", "42", "--key", "--holders"],
        &["terminate", "0"],
    ] {
        let refused = advisory(&database, &[arguments, &["--yes"]].concat()).await;
        refused.assert_fails(1, &["prepared transaction", "42", &remedy]);
        assert_eq!(refused.text(), "");
    }
}
