//! An error says whether the holder of the lock is this very process.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Holder, Isolation};
use advisory_tests::Database;
use advisory_verbs::{Refusal, Scope, Verb, holders, with_holders};
use sqlx::{Executor as _, PgPool};
use tokio::sync::oneshot;

fn holder(error: &Error) -> &Holder {
    let holders = holders(error);
    assert_eq!(holders.len(), 1, "{error}");
    &holders[0]
}

/// Asks with every verb that names the holders.
async fn refusals(lock: &AdvisoryLock, pool: &PgPool) -> Vec<(Verb, Error)> {
    let mut refused = Vec::new();
    for verb in Verb::all(|verb| verb.is_of_lock() && verb.refusal() == Refusal::Error) {
        refused.push((verb, refusal(verb, lock, pool).await));
    }
    refused
}

async fn refusal(verb: Verb, lock: &AdvisoryLock, pool: &PgPool) -> Error {
    let brief = lock.clone().timeout(Duration::from_millis(50));
    let error = verb.assert_refused(&brief, pool).await;
    error.unwrap_or_else(|| panic!("{verb} returns no error"))
}

#[tokio::test]
async fn holder_in_this_process_is_named_so() {
    let (database, pool) = Database::with_pool(2).await;
    let asking = database.pool(2).await;
    let one = AdvisoryLock::new("one");
    let kinds = [
        one.clone(),
        one.clone().timeout(Duration::from_mins(1)),
        AdvisoryLock::all(["one", "two"]),
    ];
    let isolated = one.clone().isolation(Isolation::Serializable);
    let isolated = Verb::all(Verb::takes_isolation).map(|verb| (verb, isolated.clone()));
    let held = Verb::all(|verb| verb.scope() != Scope::CallerSession || verb.is_function());
    let held = held.flat_map(|verb| kinds.clone().map(|lock| (verb, lock)));
    for (verb, lock) in held.chain(isolated) {
        let (entered, is_entered) = oneshot::channel();
        let (end, is_ended) = oneshot::channel::<()>();
        let work = async move {
            entered.send(()).unwrap();
            let _ = is_ended.await;
        };
        let holding = tokio::spawn(verb.hold(&lock, &pool, work));
        is_entered.await.unwrap();
        let key = AdvisoryLock::from(lock.keys()[0]).timeout(Duration::from_millis(50));
        let refused = with_holders(async || key.begin(&asking).await).await;
        let error = refused.unwrap_err();
        assert!(holder(&error).is_this_process, "{verb}: {error}");
        let text = error.to_string();
        assert!(text.contains("of this process"), "{verb}: {text}");
        end.send(()).unwrap();
        assert!(holding.await.unwrap().unwrap(), "{verb}");
    }
    let held = one.begin(&pool).await.unwrap();
    for (verb, error) in refusals(&one, &asking).await {
        assert!(holder(&error).is_this_process, "{verb}: {error}");
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn holder_in_another_process_is_not_this_one() {
    let (database, pool) = Database::with_pool(2).await;
    let one = AdvisoryLock::new(1);
    let mut other = database.connection().await;
    // As another process sends it.
    let lock = "/* advisory 0123456789abcdef */;SELECT pg_advisory_lock(1)";
    other.execute(sqlx::raw_sql(lock)).await.unwrap();
    for (verb, error) in refusals(&one, &pool).await {
        assert!(!holder(&error).is_this_process, "{verb}: {error}");
        assert!(
            !error.to_string().contains("this process"),
            "{verb}: {error}"
        );
    }
}
