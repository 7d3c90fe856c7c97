//! Deadlocks.
//!
//! The server looks for a deadlock once in every wait, after `deadlock_timeout`, and ends the wait
//! in which it finds one. So the last waiter loses if its timeout is short and the timeouts of the
//! others are longer than any test.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use advisory_verbs::Verb;
use sqlx::{Connection as _, Executor as _, PgPool, Row as _};

use super::{JOINING, passed_on};

/// A database with the pool of the winners, and the pool of the losers, which lose if they wait
/// last.
async fn database_with_pools() -> (Database, PgPool, PgPool) {
    let database = Database::new().await;
    let winners = database.pool_with(2, "deadlock_timeout", "10min").await;
    let losers = database.pool_with(2, "deadlock_timeout", "30ms").await;
    (database, winners, losers)
}

fn locks() -> (AdvisoryLock, AdvisoryLock) {
    (AdvisoryLock::new(1), AdvisoryLock::new(2))
}

#[tokio::test]
async fn loser_keeps_a_usable_transaction_and_the_winner_waits_for_its_end() {
    let (database, patient, hasty) = database_with_pools().await;
    let one = AdvisoryLock::new(1);
    for second in [AdvisoryLock::new(2), AdvisoryLock::all([2, 3])] {
        for verb in JOINING {
            let second = second.clone().timeout(Duration::from_mins(1));
            let mut loser = one.begin(&hasty).await.unwrap();
            let mut winner = second.begin(&patient).await.unwrap();
            let win = async {
                one.acquire_xact(&mut winner).await.unwrap();
                winner.commit().await.unwrap();
            };
            let fail = async {
                database.wait_until_waiting(1).await;
                let outcome = verb.join(&second, &mut loser).await;
                assert!(outcome.unwrap_err().is_deadlock());
                let setting = loser.fetch_one("SHOW lock_timeout").await.unwrap();
                assert_eq!(setting.get::<String, _>(0), "0");
                // The locks of the transaction before the deadlock are still held.
                database.wait_until_waiting(1).await;
                database.wait_until_held(1 + second.keys().len()).await;
                loser.commit().await.unwrap();
            };
            tokio::join!(win, fail);
            database.assert_nothing_leaked(&hasty).await;
        }
    }
}

/// The verb locks 1, waits for 2, and then for 3, whose holder waits for 1.
#[tokio::test]
async fn every_verb_distinguishes_a_deadlock_from_a_refusal() {
    let (database, patient, hasty) = database_with_pools().await;
    let (one, two) = locks();
    let all = AdvisoryLock::all([1, 2, 3]);
    for verb in Verb::all(Verb::is_of_lock) {
        for lock in [
            all.clone().wait_forever(),
            all.clone().timeout(Duration::from_mins(1)),
        ] {
            let held = two.begin(&patient).await.unwrap();
            let mut winner = AdvisoryLock::new(3).begin(&patient).await.unwrap();
            let win = async {
                database.wait_until_waiting(1).await;
                one.acquire_xact(&mut winner).await.unwrap();
                winner.rollback().await.unwrap();
            };
            let close_the_circle = async {
                database.wait_until_waiting(2).await;
                held.rollback().await.unwrap();
            };
            let (outcome, (), ()) = tokio::join!(verb.ask(&lock, &hasty), win, close_the_circle);
            let error = outcome.unwrap_err();
            assert!(error.is_deadlock(), "{verb}: {error:?}");
            database.assert_nothing_leaked(&hasty).await;
        }
    }
}

#[tokio::test]
async fn functions_report_a_deadlock() {
    let (database, patient, hasty) = database_with_pools().await;
    let (one, two) = locks();
    for of_session in [true, false] {
        let mut loser = one.begin(&hasty).await.unwrap();
        let mut winner = two.begin(&patient).await.unwrap();
        let fail = async {
            database.wait_until_waiting(1).await;
            let outcome = if of_session {
                advisory_core::lock(&mut loser, 2).await
            } else {
                advisory_core::xact_lock(&mut loser, 2).await
            };
            assert!(outcome.unwrap_err().is_deadlock());
            loser.rollback().await.unwrap();
        };
        let (won, ()) = tokio::join!(advisory_core::xact_lock(&mut winner, 1), fail);
        won.unwrap();
        winner.rollback().await.unwrap();
        database.assert_nothing_leaked(&hasty).await;
    }
}

#[tokio::test]
async fn closure_that_lost_is_rolled_back_and_can_be_retried() {
    let (database, patient, hasty) = database_with_pools().await;
    database.execute("CREATE TABLE written (who text)").await;
    let (one, two) = locks();
    let win = two.transaction(&patient, async |tx| {
        tx.execute("INSERT INTO written VALUES ('winner')").await?;
        database.wait_until_held(2).await;
        one.acquire_xact(tx).await
    });
    let run_loser = async |waiting| {
        let body = one.transaction(&hasty, async |tx| {
            tx.execute("INSERT INTO written VALUES ('loser')").await?;
            database.wait_until_waiting(waiting).await;
            two.acquire_xact(tx).await
        });
        body.await
    };
    let (won, outcome) = tokio::join!(win, run_loser(1));
    won.unwrap();
    assert!(outcome.unwrap_err().is_deadlock());
    run_loser(0).await.unwrap();
    let written: Vec<String> = sqlx::query_scalar("SELECT who FROM written ORDER BY who")
        .fetch_all(&patient)
        .await
        .unwrap();
    assert_eq!(written, ["loser", "winner"]);
    database.assert_nothing_leaked(&hasty).await;
}

/// The server sees the waits of a session. The lock of the guard belongs to the session, and
/// remains after the deadlock.
#[tokio::test]
async fn guard_that_lost_on_its_own_session_is_still_held() {
    let (database, patient, hasty) = database_with_pools().await;
    let (one, two) = locks();
    let mut guard = one.acquire(&hasty).await.unwrap();
    let mut winner = two.begin(&patient).await.unwrap();
    let win = async {
        one.acquire_xact(&mut winner).await.unwrap();
        winner.commit().await.unwrap();
    };
    let fail = async {
        database.wait_until_waiting(1).await;
        let conn = guard.connection().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let outcome = two.acquire_xact(&mut tx).await;
        assert!(outcome.unwrap_err().is_deadlock());
        tx.rollback().await.unwrap();
        assert!(!guard.is_lost());
        database.wait_until_waiting(1).await;
        guard.release().await.unwrap();
    };
    tokio::join!(win, fail);
    database.assert_nothing_leaked(&hasty).await;
}

const UPDATE: &str = "UPDATE counter SET n = n + 1";

/// The server finds the deadlock while a statement waits for a row. So it is an error of the
/// statement, with the text of the server.
#[tokio::test]
async fn deadlock_in_a_row_wait_is_an_error_of_the_statement() {
    let (database, patient, hasty) = database_with_pools().await;
    database
        .execute("CREATE TABLE counter AS SELECT 0 AS n")
        .await;
    let lock = AdvisoryLock::new("one");
    let mut winner = patient.begin().await.unwrap();
    winner.execute(UPDATE).await.unwrap();
    let fail = lock.transaction(&hasty, async |tx| {
        database.wait_until_waiting(1).await;
        tx.execute(UPDATE).await?;
        Ok::<_, advisory_core::Error>(())
    });
    let win = async {
        database.wait_until_held(1).await;
        lock.acquire_xact(&mut winner).await.unwrap();
        winner.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(fail, win);
    let error = outcome.unwrap_err();
    assert_eq!(passed_on(&error).as_deref(), Some("40P01"), "{error:?}");
    database.assert_nothing_leaked(&hasty).await;
}
