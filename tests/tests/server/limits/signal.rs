//! `pg_cancel_backend` and `pg_terminate_backend` on waiters and holders.

use std::sync::Arc;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Database, LockRow, WRITE, written};
use advisory_verbs::Verb;
use sqlx::{Executor as _, PgTransaction};

use super::{assert_passed_on, code, passed_on, waits, with_rival};

const CANCEL: &str = "pg_cancel_backend";
const TERMINATE: &str = "pg_terminate_backend";

/// The error is that of the server, and no verb waits again on another connection.
#[tokio::test]
async fn ended_wait_is_an_error_in_every_verb() {
    let (database, pool, held) = with_rival().await;
    for (verb, lock) in waits() {
        for (function, sqlstate) in [(CANCEL, Some("57014")), (TERMINATE, None)] {
            let end = async {
                database.wait_until_waiting(1).await;
                let locks = database.advisory_locks().await;
                let waiter = locks.iter().find(|lock| !lock.granted).unwrap().pid;
                database.signal(function, |lock| lock.pid == waiter).await;
                let another = |lock: &LockRow| !lock.granted && lock.pid != waiter;
                let is_back = |locks: &[LockRow]| locks.iter().any(another);
                database.wait_until_locks("another wait", is_back).await;
            };
            let outcome = tokio::select! {
                outcome = verb.ask(&lock, &pool) => outcome,
                () = end => panic!("{verb} waits again"),
            };
            let error = outcome.unwrap_err();
            assert_passed_on(verb, &error);
            // A terminated session may end without an answer.
            if sqlstate.is_some() {
                assert_eq!(passed_on(&error).as_deref(), sqlstate, "{verb}: {error:?}");
            }
        }
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn idle_holder_is_not_affected_by_a_cancel() {
    let database = Arc::new(Database::new().await);
    let pool = database.pool(2).await;
    let lock = AdvisoryLock::new("one");
    for verb in Verb::ALL {
        let watching = database.clone();
        let cancel = async move { watching.signal(CANCEL, |lock| lock.granted).await };
        let acquired = verb.hold(&lock, &pool, cancel).await;
        assert!(acquired.unwrap(), "{verb}");
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn terminated_holder_is_notified() {
    let database = Arc::new(Database::new().await);
    let pool = database.pool(2).await;
    let lock = AdvisoryLock::new("one");
    for verb in Verb::ALL {
        let watching = database.clone();
        let terminate = async move {
            watching.signal(TERMINATE, |lock| lock.granted).await;
            watching.wait_until_held(0).await;
        };
        let error = verb.hold(&lock, &pool, terminate).await.unwrap_err();
        let is_told = matches!(error, Error::Database(_) | Error::Lost { .. });
        assert!(is_told, "{verb}: {error:?}");
        database.assert_nothing_leaked(&pool).await;
    }
}

const SLEEP: &str = "SELECT pg_sleep(600)";

async fn cancel_the_sleeper(database: &Database) {
    let sleeps = database.wait_until_asleep();
    sleeps.await;
    database.signal(CANCEL, |lock| lock.granted).await;
}

#[tokio::test]
async fn cancelled_statement_of_the_body_rolls_back() {
    let (database, pool) = Database::with_pool(2).await;
    pool.execute("CREATE TABLE written (n int)").await.unwrap();
    let lock = AdvisoryLock::new("one");
    let body = async |tx: &mut PgTransaction<'_>| {
        tx.execute(WRITE).await?;
        tx.execute(SLEEP).await?;
        Ok::<_, sqlx::Error>(())
    };
    let (outcome, ()) = tokio::join!(lock.transaction(&pool, body), cancel_the_sleeper(&database));
    assert_eq!(code(&outcome.unwrap_err()).as_deref(), Some("57014"));
    database.assert_nothing_leaked(&pool).await;
    assert_eq!(written(&pool).await, 0);
}

/// A session lock remains when a statement fails.
#[tokio::test]
async fn cancelled_statement_on_the_session_of_a_guard_keeps_the_lock() {
    let (database, pool) = Database::with_pool(2).await;
    let mut guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    let conn = guard.connection().await.unwrap();
    let (outcome, ()) = tokio::join!(conn.execute(SLEEP), cancel_the_sleeper(&database));
    assert_eq!(code(&outcome.unwrap_err()).as_deref(), Some("57014"));
    assert!(!guard.is_lost());
    assert_eq!(database.advisory_locks().await.len(), 1);
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
