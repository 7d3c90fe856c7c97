//! What ends a wait, other than the wait's own timeout: an error that names the lock, its holders
//! and the setting, and keeps the SQLSTATE.

use std::time::Duration;

use advisory_core::{AdvisoryLock, EndedWait, Error};
use advisory_tests::{Cut, Database, Proxy, Server};
use advisory_verbs::{Refusal, Scope, Verb, with_holders};
use sqlx::{Executor as _, PgTransaction};

const CANCEL: &str = "pg_cancel_backend";
const TERMINATE: &str = "pg_terminate_backend";

/// A database, a transaction that holds the lock `one`, and the process id of its session.
async fn held() -> (Database, PgTransaction<'static>, i32) {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let held = AdvisoryLock::new("one").begin(&rival).await.unwrap();
    let pid = database.advisory_locks().await[0].pid;
    (database, held, pid)
}

/// A wait on a `LockSession` continues when the session that queues for it ends.
fn waits_for_all_its_keys(verb: Verb) -> bool {
    let is_own_wait = verb.is_of_lock() && verb.scope() != Scope::LockSession;
    is_own_wait && verb.refusal() == Refusal::Error
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn ended(error: &Error) -> &EndedWait {
    let ended = error.ended_wait();
    ended.unwrap_or_else(|| panic!("no wait was ended: {error:?}"))
}

/// Asserts that the error names the lock and the setting, and stays what it was for programs.
fn assert_explained(verb: Verb, error: Error, sqlstate: &str, setting: Option<&str>) {
    let text = error.to_string();
    assert!(text.contains("advisory lock `one`"), "{verb}: {text}");
    assert!(!error.is_not_acquired() && !error.is_retryable(), "{verb}");
    let end = ended(&error);
    assert_eq!(end.lock.name(), Some("one"), "{verb}");
    assert_eq!(end.setting(), setting, "{verb}: {text}");
    assert!(
        setting.is_none_or(|setting| text.contains(&format!("`{setting}`"))),
        "{verb}: {text}"
    );
    let error = sqlx::Error::from(error);
    assert_eq!(code(&error).as_deref(), Some(sqlstate), "{verb}: {error:?}");
    assert_eq!(error.to_string(), text, "{verb}");
    assert!(Error::from(error).ended_wait().is_some(), "{verb}");
}

fn assert_names_holder(verb: Verb, error: &Error, pid: i32) {
    let holders: Vec<_> = ended(error)
        .holders
        .iter()
        .map(|holder| holder.pid)
        .collect();
    assert_eq!(holders, [pid], "{verb}: {error}");
    assert!(
        error.to_string().contains(&format!("held by pid {pid}")),
        "{verb}: {error}"
    );
}

#[tokio::test]
async fn statement_timeout_names_itself_the_lock_and_its_holder() {
    let (database, held, pid) = held().await;
    let pool = database.pool_with(2, "statement_timeout", "50ms").await;
    let one = AdvisoryLock::new("one");
    let timeout = one.clone().timeout(Duration::from_mins(1));
    for lock in [one.clone(), one.wait_forever(), timeout] {
        for verb in Verb::all(waits_for_all_its_keys) {
            let error = with_holders(async || verb.ask(&lock, &pool).await).await;
            let error = error.unwrap_err();
            assert_names_holder(verb, &error, pid);
            assert_explained(verb, error, "57014", Some("statement_timeout"));
        }
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn callers_transaction_is_usable_after_a_cancelled_wait() {
    let (database, held, _) = held().await;
    let pool = database.pool(2).await;
    let cancel = async || {
        database.wait_until_waiting(1).await;
        database.signal(CANCEL, |lock| !lock.granted).await;
    };
    for lock in [AdvisoryLock::new("one"), AdvisoryLock::all(["one", "two"])] {
        for lock in [
            lock.clone().wait_forever(),
            lock.timeout(Duration::from_mins(1)),
        ] {
            let mut tx = pool.begin().await.unwrap();
            let (acquired, ()) = tokio::join!(lock.acquire_xact(&mut tx), cancel());
            ended(&acquired.unwrap_err());
            tx.execute("SELECT 1").await.unwrap();
            let (tried, ()) = tokio::join!(lock.try_acquire_xact(&mut tx), cancel());
            // Those who only report pay for no look at the holders.
            assert_eq!(ended(&tried.unwrap_err()).holders, []);
            tx.execute("SELECT 1").await.unwrap();
            assert_eq!(database.advisory_locks().await.len(), 1, "the holder's");
            tx.commit().await.unwrap();
        }
    }
    held.rollback().await.unwrap();
}

#[tokio::test]
async fn cancelled_and_terminated_waits_name_the_lock() {
    let (database, held, pid) = held().await;
    let pool = database.pool(2).await;
    for (end, sqlstate) in [(CANCEL, "57014"), (TERMINATE, "57P01")] {
        for verb in Verb::all(waits_for_all_its_keys) {
            let ended = async || {
                let asked = tokio::spawn(verb.ask(&AdvisoryLock::new("one"), &pool));
                database.wait_until_waiting(1).await;
                database.signal(end, |lock| !lock.granted).await;
                asked.await.unwrap()
            };
            // The connection of a terminated session can tell nothing more.
            let error = if end == CANCEL || verb.is_on_pool() {
                let error = with_holders(ended).await.unwrap_err();
                assert_names_holder(verb, &error, pid);
                error
            } else {
                ended().await.unwrap_err()
            };
            assert_explained(verb, error, sqlstate, None);
        }
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn transaction_timeout_names_itself_and_the_lock() {
    if Server::shared().version().major < 17 {
        return;
    }
    let (database, held, _) = held().await;
    let pool = database.pool_with(2, "transaction_timeout", "200ms").await;
    for verb in Verb::all(waits_for_all_its_keys) {
        let lock = AdvisoryLock::new("one").wait_forever();
        let error = verb.ask(&lock, &pool).await.unwrap_err();
        assert_explained(verb, error, "25P04", Some("transaction_timeout"));
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// PostgreSQL's own functions name the key.
#[tokio::test]
async fn functions_name_the_key() {
    let (database, held, _) = held().await;
    let pool = database.pool_with(2, "statement_timeout", "50ms").await;
    let key = AdvisoryLock::new("one").keys()[0];
    for verb in [Verb::Lock, Verb::XactLock] {
        let error = verb
            .ask(&AdvisoryLock::new("one"), &pool)
            .await
            .unwrap_err();
        assert_eq!(ended(&error).lock.keys(), [key], "{verb}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("advisory lock {key}")),
            "{verb}: {text}"
        );
        assert!(text.contains("`statement_timeout`"), "{verb}: {text}");
    }
    held.rollback().await.unwrap();
}

/// The server does not send an error any more.
#[tokio::test]
async fn lost_connection_names_the_lock() {
    let (database, held, _) = held().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    let asked = tokio::spawn(Verb::Begin.ask(&AdvisoryLock::new("one"), &pool));
    database.wait_until_waiting(1).await;
    proxy.cut(Cut::Fin).await;
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(ended(&error).lock.name(), Some("one"));
    assert!(error.to_string().contains("advisory lock `one`"), "{error}");
    assert!(matches!(sqlx::Error::from(error), sqlx::Error::Io(_)));
    held.rollback().await.unwrap();
}
