//! The smallest and the greatest keys, very many keys, and no keys.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation, Key};
use advisory_tests::{Database, LockRow, by_depth, sample};
use advisory_verbs::Verb;
use sqlx::PgPool;

/// The held keys, in the order of a lock.
async fn held(database: &Database) -> Vec<Key> {
    let key = |lock: LockRow| Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid).unwrap();
    let locks = database.advisory_locks().await;
    AdvisoryLock::all(locks.into_iter().map(key))
        .keys()
        .to_vec()
}

/// Asserts that a verb holds the keys of the lock and no others.
async fn assert_holds(verb: Verb, lock: &AdvisoryLock, database: &Arc<Database>, pool: &PgPool) {
    let (watching, keys) = (database.clone(), lock.keys().to_vec());
    // `assert_eq!` would print ten thousand keys.
    let inspect = async move { assert!(held(&watching).await == keys) };
    assert!(verb.hold(lock, pool, inspect).await.unwrap());
    database.assert_nothing_leaked(pool).await;
}

/// Asserts the same for every verb and every kind of wait.
async fn assert_every_verb_holds(lock: &AdvisoryLock, database: &Arc<Database>) {
    let pool = database.pool(2).await;
    for lock in [
        lock.clone(),
        lock.clone().timeout(Duration::from_mins(1)),
        lock.clone().timeout(Duration::ZERO),
        lock.clone().polling(Duration::from_millis(10)),
        lock.clone().shared(),
    ] {
        for verb in Verb::all(Verb::is_of_lock) {
            assert_holds(verb, &lock, database, &pool).await;
        }
    }
    let isolated = lock.clone().isolation(Isolation::Serializable);
    for verb in Verb::all(Verb::takes_isolation) {
        assert_holds(verb, &isolated, database, &pool).await;
    }
}

#[tokio::test]
async fn smallest_and_greatest_keys_can_be_locked() {
    let database = Arc::new(Database::new().await);
    let numbers = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX].map(Key::from);
    let halves = [i32::MIN, -1, 0, i32::MAX];
    let pairs = halves
        .into_iter()
        .flat_map(|a| halves.map(|b| Key::from((a, b))));
    let all: Vec<_> = numbers.into_iter().chain(pairs).collect();
    for key in [
        Key::from(i64::MIN),
        Key::from(i64::MAX),
        Key::from((i32::MIN, i32::MAX)),
        Key::from((i32::MAX, i32::MIN)),
    ] {
        assert_every_verb_holds(&key.into(), &database).await;
    }
    assert_every_verb_holds(&AdvisoryLock::all(all), &database).await;
}

#[tokio::test]
async fn lock_on_no_keys_is_granted_at_once() {
    let database = Arc::new(Database::new().await);
    let none = AdvisoryLock::all([0_i64; 0]);
    assert_every_verb_holds(&none, &database).await;
}

/// 5,000 keys of each key space.
fn many() -> AdvisoryLock {
    AdvisoryLock::all((0..5_000).flat_map(|n| [Key::from(n), Key::from((n, -n))]))
}

#[tokio::test]
async fn ten_thousand_keys_can_be_held() {
    let database = Arc::new(Database::on(super::large_server().await).await);
    let pool = database.pool(2).await;
    let many = many();
    assert_eq!(many.keys().len(), 10_000);
    for verb in Verb::all(Verb::is_of_lock) {
        let timeout = many.clone().timeout(Duration::from_mins(1));
        for lock in sample(verb as usize, [&many, &timeout]) {
            assert_holds(verb, lock, &database, &pool).await;
        }
    }
    for verb in Verb::all(Verb::takes_isolation) {
        let isolated = many.clone().isolation(Isolation::Serializable);
        assert_holds(verb, &isolated, &database, &pool).await;
    }
}

/// Another session holds the last key.
#[tokio::test]
async fn ten_thousand_keys_are_all_held_or_none() {
    let database = Database::on(super::large_server().await).await;
    let (pool, rivals) = (database.pool(2).await, database.pool(1).await);
    let many = many();
    let last = *many.keys().last().unwrap();
    let held_by_rival = AdvisoryLock::from(last).begin(&rivals).await.unwrap();
    for verb in Verb::all(Verb::is_of_lock) {
        for wait in sample(verb as usize, [Duration::ZERO, Duration::from_millis(200)]) {
            let refused = verb
                .assert_refused(&many.clone().timeout(wait), &pool)
                .await;
            let message = refused.map_or(String::new(), |error| error.to_string());
            assert!(message.len() < 500, "{message}");
            database.wait_until_held(1).await;
        }
    }
    held_by_rival.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// If one of several keys is refused, the others are released before the refusal is returned.
#[tokio::test]
async fn refusal_leaves_no_key_locked() {
    let database = Database::on(super::large_server().await).await;
    let (pool, rivals) = (database.pool(2).await, database.pool(1).await);
    let many = many().timeout(Duration::ZERO);
    let (first, last) = (many.keys()[0], *many.keys().last().unwrap());
    let held_by_rival = AdvisoryLock::from(last).begin(&rivals).await.unwrap();
    for verb in Verb::all(Verb::is_on_pool) {
        for n in 0..by_depth(3, 10) {
            verb.assert_refused(&many, &pool).await;
            let free = AdvisoryLock::from(first).try_begin(&pool).await.unwrap();
            assert!(free.is_some(), "{verb}, at the {n}th attempt");
            free.unwrap().rollback().await.unwrap();
        }
    }
    held_by_rival.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
