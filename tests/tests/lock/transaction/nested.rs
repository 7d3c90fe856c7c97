//! A call in the body of another call with the same key: it would wait for itself, and is refused
//! where the library can see it.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, UnsupportedReason, advisory};
use advisory_tests::Database;
use advisory_verbs::{Refusal, Verb, unsupported};
use sqlx::{PgPool, PgTransaction};

/// The verbs that run a body under a lock on a pool, and see its end. `begin` hands out a
/// transaction, and `try_acquire` a guard that is not watched here.
fn runs_a_body(verb: Verb) -> bool {
    let hands_out = matches!(verb, Verb::Begin | Verb::TryBegin | Verb::TryAcquire);
    verb.is_on_pool() && !hands_out
}

fn waits_on_a_pool(verb: Verb) -> bool {
    verb.is_on_pool() && verb.refusal() == Refusal::Error
}

/// Runs `inner` in the body of `outer`. The connections of the inner call are those of `pool`.
async fn nest(
    outer: (Verb, &AdvisoryLock),
    inner: (Verb, &AdvisoryLock),
    pool: &PgPool,
) -> Result<bool, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (verb, lock, inside) = (inner.0, inner.1.clone(), pool.clone());
    let work = async move { drop(sender.send(verb.ask(&lock, &inside).await)) };
    assert!(
        outer.0.hold(outer.1, pool, work).await.unwrap(),
        "{}",
        outer.0
    );
    receiver.await.unwrap()
}

fn assert_names(error: &Error, name: &str, what: &str) {
    let UnsupportedReason::NestedWait { lock, .. } = unsupported(error) else {
        panic!("{what}: {error:?}");
    };
    assert_eq!(lock.name(), Some(name), "{what}");
    assert!(
        error
            .to_string()
            .contains(&format!("advisory lock `{name}`")),
        "{what}: {error}"
    );
    assert!(!error.is_not_acquired(), "{what}");
}

#[tokio::test]
async fn nested_wait_for_the_same_key_is_refused_at_once() {
    let (database, pool) = Database::with_pool(3).await;
    let one = AdvisoryLock::new("one");
    let several = AdvisoryLock::all(["one", "two"]);
    for outer in Verb::all(runs_a_body) {
        for inner in Verb::all(waits_on_a_pool) {
            for lock in [
                one.clone(),
                several.clone().wait_forever(),
                one.clone().timeout(Duration::from_hours(1)),
                one.clone().shared(),
            ] {
                let error = nest((outer, &one), (inner, &lock), &pool)
                    .await
                    .unwrap_err();
                assert_names(&error, "one", &format!("{inner} in {outer}"));
            }
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = "client:{id}", tx)]
async fn outer(pool: &PgPool, id: i64) -> Result<(), Error> {
    let _ = tx;
    between(pool, id).await
}

#[advisory(key = "other", scope = session)]
async fn between(pool: &PgPool, id: i64) -> Result<(), Error> {
    inner(pool, id).await
}

#[advisory(key = "client:{id}")]
async fn inner(pool: &PgPool, id: i64) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
async fn it_is_found_through_other_calls_and_other_pools() {
    let (database, pool) = Database::with_pool(3).await;
    assert_names(
        &outer(&pool, 4).await.unwrap_err(),
        "client:4",
        "through another",
    );
    let second = database.pool(1).await;
    let lock = AdvisoryLock::new("one");
    let body = async |_: &mut PgTransaction<'_>| lock.acquire(&second).await.map(drop);
    assert_names(
        &lock.transaction(&pool, body).await.unwrap_err(),
        "one",
        "another pool",
    );
    // The end of the body is the end of it.
    inner(&pool, 4).await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_report_is_not_granted_as_ever() {
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("one");
    let reports = |verb: Verb| verb.is_on_pool() && verb.refusal() == Refusal::Report;
    for outer in Verb::all(runs_a_body) {
        for inner in Verb::all(reports) {
            let granted = nest((outer, &lock), (inner, &lock), &pool).await;
            assert!(!granted.unwrap(), "{inner} in {outer}");
        }
        let no_wait = lock.clone().timeout(Duration::ZERO);
        let error = nest((outer, &lock), (Verb::Begin, &no_wait), &pool).await;
        assert!(error.unwrap_err().is_not_acquired(), "{outer}");
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn what_can_be_granted_is_not_refused() {
    let (database, pool) = Database::with_pool(3).await;
    let (elsewhere, other_pool) = Database::with_pool(3).await;
    let one = AdvisoryLock::new("one").wait_forever();
    let (shared, two) = (one.clone().shared(), AdvisoryLock::new("two"));
    for outer in Verb::all(runs_a_body) {
        for inner in Verb::all(waits_on_a_pool) {
            for (held, asked) in [(&one, &two), (&shared, &shared)] {
                assert!(
                    nest((outer, held), (inner, asked), &pool).await.unwrap(),
                    "{inner} in {outer}"
                );
            }
            // Another database has other locks.
            let (lock, elsewhere) = (one.clone(), other_pool.clone());
            let work = async move { assert!(inner.ask(&lock, &elsewhere).await.unwrap()) };
            assert!(
                outer.hold(&one, &pool, work).await.unwrap(),
                "{inner} in {outer}"
            );
        }
    }
    // The same transaction is granted its lock again.
    let body = async |tx: &mut PgTransaction<'_>| one.acquire_xact(tx).await;
    one.transaction(&pool, body).await.unwrap();
    // Calls beside each other wait for each other.
    let call = || one.transaction(&pool, async |_: &mut PgTransaction<'_>| Ok::<_, Error>(()));
    let (first, second) = tokio::join!(call(), call());
    first.and(second).unwrap();
    database.assert_nothing_leaked(&pool).await;
    elsewhere.assert_nothing_leaked(&other_pool).await;
}

/// A task of its own may outlive the body, and then be granted the lock.
#[tokio::test]
async fn a_spawned_task_waits() {
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("one");
    let (waiting, locks) = (lock.clone(), pool.clone());
    let body = async move |_: &mut PgTransaction<'_>| {
        Ok::<_, Error>(tokio::spawn(async move { waiting.acquire(&locks).await }))
    };
    let spawned = lock.transaction(&pool, body).await.unwrap();
    spawned.await.unwrap().unwrap().release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
