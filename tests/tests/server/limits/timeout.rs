//! The timeouts of the server: what they must end, and what they must not end.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::{BackendRow, Database, Server};
use advisory_verbs::{Access, Scope, Verb};
use sqlx::{ConnectOptions as _, Executor as _, PgPool};

use super::{assert_passed_on, contended, passed_on, waits};

fn is_beside_transaction(verb: Verb) -> bool {
    verb.is_in_transaction() && verb.access() == Access::Beside
}

/// Runs a body until its lock is lost.
async fn assert_notified_of_the_loss(database: &Arc<Database>, pool: &PgPool) {
    let lock = AdvisoryLock::new("one");
    for verb in Verb::all(Verb::is_in_transaction) {
        let watching = database.clone();
        let idle = async move { watching.wait_until_held(0).await };
        let error = verb.hold(&lock, pool, idle).await.unwrap_err();
        assert_passed_on(verb, &error);
        database.assert_nothing_leaked(pool).await;
    }
    // A body that does not use the transaction, and never ends.
    for verb in Verb::all(is_beside_transaction) {
        let lost = verb.hold(&lock, pool, std::future::pending()).await;
        assert!(lost.unwrap_err().is_lost(), "{verb}");
        database.assert_nothing_leaked(pool).await;
    }
}

#[tokio::test]
async fn holder_of_a_transaction_that_is_idle_for_too_long_is_notified() {
    let database = Arc::new(Database::new().await);
    let setting = "idle_in_transaction_session_timeout";
    let pool = database.pool_with(2, setting, "200ms").await;
    assert_notified_of_the_loss(&database, &pool).await;
}

/// `transaction_timeout` also ends a busy transaction, so the pings of a body outside the
/// transaction do not prevent it.
#[tokio::test]
async fn holder_of_a_transaction_that_takes_too_long_is_notified() {
    if Server::shared().version().major < 17 {
        return;
    }
    let database = Arc::new(Database::new().await);
    let pool = database.pool_with(2, "transaction_timeout", "300ms").await;
    assert_notified_of_the_loss(&database, &pool).await;

    let rival = database.pool(1).await;
    let held = contended().begin(&rival).await.unwrap();
    let lock = AdvisoryLock::new("one").wait_forever();
    for verb in Verb::all(Verb::waits_in_statement) {
        let error = verb.ask(&lock, &pool).await.unwrap_err();
        assert_passed_on(verb, &error);
        database.wait_until_waiting(0).await;
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// A session that holds a lock is idle and has no transaction.
#[tokio::test]
async fn session_with_a_lock_outlives_every_timeout() {
    let database = Arc::new(Database::new().await);
    let mut settings = vec![
        ("idle_session_timeout", "300ms"),
        ("idle_in_transaction_session_timeout", "300ms"),
        ("statement_timeout", "10s"),
    ];
    if Server::shared().version().major >= 17 {
        settings.push(("transaction_timeout", "300ms"));
    }
    let options = database.options().options(settings);
    let pool = PgPool::connect_with(options.clone()).await.unwrap();
    for verb in Verb::all(|verb| matches!(verb.scope(), Scope::Session | Scope::LockSession)) {
        for lock in [AdvisoryLock::new("one"), contended()] {
            let (options, watching) = (options.clone(), database.clone());
            let outlive = async move {
                // Two sessions without locks are ended meanwhile, which shows that the settings
                // work.
                let idle = options.connect().await.unwrap();
                let mut in_transaction = options.connect().await.unwrap();
                in_transaction.execute("BEGIN").await.unwrap();
                let alone = |backends: &[BackendRow]| backends.len() == 1;
                watching.wait_until_backends("one backend", alone).await;
                drop((idle, in_transaction));
            };
            let acquired = verb.hold(&lock, &pool, outlive).await;
            assert!(acquired.unwrap(), "{verb}");
        }
    }
    // The timeouts may end the connections of the pool during this check.
    let others = database.pool(1).await;
    database.assert_nothing_leaked(&others).await;
}

#[tokio::test]
async fn statement_timeout_is_not_a_refusal() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let pool = database.pool_with(2, "statement_timeout", "30ms").await;
    let held = contended().begin(&rival).await.unwrap();
    for (verb, lock) in waits() {
        let error = verb.ask(&lock, &pool).await.unwrap_err();
        let sqlstate = passed_on(&error);
        assert_eq!(sqlstate.as_deref(), Some("57014"), "{verb}: {error:?}");
        database.wait_until_waiting(0).await;
        assert_eq!(database.advisory_locks().await.len(), 2, "the rival's");
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// The timeout and the grant happen at about the same time, in either order.
#[tokio::test]
async fn statement_timeout_during_the_grant_leaves_nothing() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let pool = database.pool_with(2, "statement_timeout", "5ms").await;
    for (verb, lock) in waits() {
        for after in 3..8 {
            let held = contended().begin(&rival).await.unwrap();
            let release = async {
                tokio::time::sleep(Duration::from_millis(after)).await;
                held.rollback().await.unwrap();
            };
            let (outcome, ()) = tokio::join!(verb.ask(&lock, &pool), release);
            match outcome {
                Ok(acquired) => assert!(acquired, "{verb}"),
                Err(error) => assert_passed_on(verb, &error),
            }
        }
        // Checked with a pool without that timeout, which could end any statement on a busy
        // machine.
        database.assert_nothing_leaked(&rival).await;
    }
}
