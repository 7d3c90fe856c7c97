//! The lock functions in both key spaces, both scopes and both modes.

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_tests::{Database, LockRow, Proxy};
use advisory_verbs::Function;
use sqlx::{Connection as _, Executor as _, PgConnection};

const KEYS: [Key; 6] = [
    Key::BigInt(42),
    Key::BigInt(-1),
    Key::BigInt(i64::MIN),
    Key::IntPair(1, 7),
    Key::IntPair(-1, i32::MIN),
    Key::IntPair(0, 42),
];

/// The only lock in the database, if there is one.
async fn only_lock(database: &Database) -> Option<(Key, String)> {
    let locks = database.advisory_locks().await;
    assert!(locks.len() < 2, "{locks:?}");
    let key = |lock: &LockRow| Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid).unwrap();
    locks.into_iter().next().map(|lock| (key(&lock), lock.mode))
}

#[tokio::test]
async fn functions_hold_the_given_key_until_the_transaction_ends_or_it_is_unlocked() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    for key in KEYS {
        for function in Function::all() {
            let mut tx = conn.begin().await.unwrap();
            assert!(function.call(&mut tx, key).await.unwrap(), "{function}");
            let held = Some((key, function.mode().to_owned()));
            assert_eq!(only_lock(&database).await, held, "{function}");
            tx.rollback().await.unwrap();
            if !function.is_xact {
                assert_eq!(only_lock(&database).await, held, "{function}");
                assert!(function.unlock(&mut conn, key).await.unwrap());
            }
            assert_eq!(only_lock(&database).await, None, "{function}");
        }
    }
}

#[tokio::test]
async fn try_functions_report_whether_they_locked() {
    let database = Database::new().await;
    let (mut holder, mut other) = (database.connection().await, database.connection().await);
    let tries = Function::all().filter(|function| function.tries);
    for key in KEYS {
        for holding in Function::all() {
            let mut held = holder.begin().await.unwrap();
            assert!(holding.call(&mut held, key).await.unwrap());
            for trying in tries.clone() {
                let mut tx = other.begin().await.unwrap();
                let acquired = trying.call(&mut tx, key).await.unwrap();
                let expected = holding.is_shared && trying.is_shared;
                assert_eq!(acquired, expected, "{trying} beside {holding}");
                tx.rollback().await.unwrap();
                advisory_core::unlock_all(&mut other).await.unwrap();
            }
            held.rollback().await.unwrap();
            advisory_core::unlock_all(&mut holder).await.unwrap();
        }
    }
}

#[tokio::test]
async fn unlock_returns_the_answer_of_the_server() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    assert!(!advisory_core::unlock(&mut conn, 1).await.unwrap());
    assert!(
        !advisory_core::unlock_shared(&mut conn, (1, 2))
            .await
            .unwrap()
    );

    // The session counts its locks, so two locks need two unlocks.
    advisory_core::lock(&mut conn, 1).await.unwrap();
    advisory_core::lock(&mut conn, 1).await.unwrap();
    assert!(advisory_core::unlock(&mut conn, 1).await.unwrap());
    assert!(only_lock(&database).await.is_some());
    assert!(!advisory_core::unlock_shared(&mut conn, 1).await.unwrap());
    assert!(advisory_core::unlock(&mut conn, 1).await.unwrap());
    assert_eq!(only_lock(&database).await, None);
}

#[tokio::test]
async fn unlock_all_leaves_transaction_locks() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    let mut tx = conn.begin().await.unwrap();
    advisory_core::lock(&mut tx, 1).await.unwrap();
    advisory_core::lock_shared(&mut tx, (1, 2)).await.unwrap();
    advisory_core::xact_lock(&mut tx, 3).await.unwrap();
    advisory_core::unlock_all(&mut tx).await.unwrap();
    assert_eq!(
        only_lock(&database).await,
        Some((Key::BigInt(3), "ExclusiveLock".into()))
    );
}

#[tokio::test]
async fn functions_accept_every_executor_that_is_one_connection() {
    let (database, pool) = Database::with_pool(1).await;
    let mut pooled = pool.acquire().await.unwrap();
    advisory_core::lock(&mut pooled, 1).await.unwrap();
    let plain: &mut PgConnection = &mut pooled;
    advisory_core::lock(&mut *plain, "two").await.unwrap();
    let mut tx = plain.begin().await.unwrap();
    advisory_core::lock(&mut tx, String::from("three"))
        .await
        .unwrap();
    advisory_core::lock(&mut *tx, (4, 4)).await.unwrap();
    assert_eq!(database.advisory_locks().await.len(), 4);
}

#[tokio::test]
async fn transaction_lock_outside_a_transaction_sends_nothing() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    let mut conn = pool.acquire().await.unwrap();
    proxy.reset();
    let lock = AdvisoryLock::new(1);
    let mut refused = vec![
        lock.acquire_xact(&mut conn).await.unwrap_err(),
        lock.try_acquire_xact(&mut conn).await.unwrap_err(),
    ];
    for function in Function::all().filter(|function| function.is_xact) {
        refused.push(function.call(&mut conn, 1.into()).await.unwrap_err());
    }
    for error in refused {
        assert!(matches!(error, Error::NotInTransaction), "{error:?}");
    }
    assert_eq!(
        (proxy.round_trips(), proxy.pings()),
        (0, 0),
        "{}",
        proxy.dump()
    );
}

#[tokio::test]
async fn lock_timeout_of_the_server_is_not_acquired_in_a_transaction() {
    let database = Database::new().await;
    let mut holder = database.connection().await;
    advisory_core::lock(&mut holder, 1).await.unwrap();

    let mut conn = database.connection().await;
    conn.execute("SET lock_timeout = '10ms'").await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let error = advisory_core::xact_lock(&mut tx, 1).await.unwrap_err();
    assert!(error.is_not_acquired(), "{error:?}");
    tx.rollback().await.unwrap();

    // A session lock may have been granted in spite of the timeout, so the error is not "not
    // acquired".
    let error = advisory_core::lock(&mut conn, 1).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
}
