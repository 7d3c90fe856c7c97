//! Servers on which a lock would not exclude others are refused: a server whose functions lock
//! nothing, a server without the functions, and a standby.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Database, Server, sample};
use advisory_verbs::{Verb, begin, unsupported};
use sqlx::Executor as _;

type Outcome = Result<bool, Error>;

/// The kinds of locks that a verb takes.
fn locks(verb: Verb) -> Vec<AdvisoryLock> {
    let lock = AdvisoryLock::new(1);
    let mut locks = vec![
        lock.clone(),
        lock.clone().timeout(Duration::from_secs(5)),
        lock.clone().polling(Duration::from_millis(1)),
        AdvisoryLock::all([1, 2]),
        AdvisoryLock::new((1, 2)).shared(),
    ];
    if verb.takes_isolation() {
        locks.push(lock.isolation(Isolation::RepeatableRead));
    }
    locks
}

/// The outcome of every verb, each on a new pool, whose connections have not been probed.
async fn every_verb(database: &Database) -> Vec<(Verb, Outcome)> {
    let mut outcomes = Vec::new();
    for verb in Verb::ALL {
        for lock in sample(verb as usize, locks(verb)) {
            let pool = database.pool(2).await;
            let outcome = if verb.is_in_callers_transaction() {
                let mut tx = pool.begin().await.unwrap();
                let outcome = verb.join(&lock, &mut tx).await;
                // The transaction remains usable.
                tx.execute("SELECT 1").await.unwrap();
                tx.rollback().await.unwrap();
                outcome
            } else {
                verb.ask(&lock, &pool).await
            };
            outcomes.push((verb, outcome));
            database.assert_nothing_leaked(&pool).await;
            pool.close().await;
        }
    }
    outcomes
}

fn assert_unsupported(outcomes: Vec<(Verb, Outcome)>, reason: &str) {
    for (verb, outcome) in outcomes {
        let error = outcome.expect_err(verb.name());
        let found = unsupported(&error).to_string();
        assert!(found.contains(reason), "{verb}: {found}");
    }
}

fn assert_granted(outcomes: Vec<(Verb, Outcome)>) {
    for (verb, outcome) in outcomes {
        assert!(matches!(outcome, Ok(true)), "{verb}: {outcome:?}");
    }
}

#[tokio::test]
async fn server_whose_functions_lock_nothing_is_refused() {
    let database = Database::new().await;
    database.replace_lock_functions().await;
    assert_unsupported(every_verb(&database).await, "does not hold");
}

#[tokio::test]
async fn lock_on_no_keys_does_not_count_as_a_probe() {
    let database = Database::new().await;
    database.replace_lock_functions().await;
    let pool = database.pool(1).await;
    let tx = begin(&pool).await.unwrap();
    tx.rollback().await.unwrap();
    let outcome = Verb::Begin.ask(&AdvisoryLock::new(1), &pool).await;
    assert_unsupported(vec![(Verb::Begin, outcome)], "does not hold");
}

#[tokio::test]
async fn server_without_the_functions_is_refused() {
    let database = Database::new().await;
    let rename = "ALTER FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) RENAME TO not_here";
    database.execute(rename).await;
    let pool = database.pool(1).await;
    let error = AdvisoryLock::new(1).begin(&pool).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    let what = error.to_string();
    assert!(
        what.contains("pg_advisory_xact_lock") && what.contains("PostgreSQL 14"),
        "{what}"
    );
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn standby_is_refused_until_it_is_promoted() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    assert_unsupported(every_verb(&second).await, "standby");
    standby.promote().await;
    assert_granted(every_verb(&second).await);
}
