//! The lock functions in both key spaces, both scopes and both modes.

use advisory_core::{Error, Key};
use advisory_tests::{Database, LockRow, Proxy};
use sqlx::{Connection as _, PgConnection};

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
    locks.into_iter().next().map(
        |LockRow {
             classid,
             objid,
             objsubid,
             mode,
             ..
         }| { (Key::from_pg_locks(classid, objid, objsubid).unwrap(), mode) },
    )
}

#[tokio::test]
async fn session_functions_lock_and_unlock_the_given_key() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    for key in KEYS {
        advisory_core::lock(&mut conn, key).await.unwrap();
        assert_eq!(
            only_lock(&database).await,
            Some((key, "ExclusiveLock".into()))
        );
        assert!(advisory_core::unlock(&mut conn, key).await.unwrap());
        assert_eq!(only_lock(&database).await, None);

        advisory_core::lock_shared(&mut conn, key).await.unwrap();
        assert_eq!(only_lock(&database).await, Some((key, "ShareLock".into())));
        assert!(advisory_core::unlock_shared(&mut conn, key).await.unwrap());
        assert_eq!(only_lock(&database).await, None);
    }
}

#[tokio::test]
async fn xact_functions_hold_until_the_transaction_ends() {
    let database = Database::new().await;
    let mut conn = database.connection().await;
    for key in KEYS {
        let mut tx = conn.begin().await.unwrap();
        advisory_core::xact_lock(&mut tx, key).await.unwrap();
        assert_eq!(
            only_lock(&database).await,
            Some((key, "ExclusiveLock".into()))
        );
        tx.commit().await.unwrap();
        assert_eq!(only_lock(&database).await, None);

        let mut tx = conn.begin().await.unwrap();
        advisory_core::xact_lock_shared(&mut *tx, key)
            .await
            .unwrap();
        assert_eq!(only_lock(&database).await, Some((key, "ShareLock".into())));
        tx.rollback().await.unwrap();
        assert_eq!(only_lock(&database).await, None);
    }
}

#[tokio::test]
async fn try_functions_report_whether_they_locked() {
    let database = Database::new().await;
    let mut holder = database.connection().await;
    let mut other = database.connection().await;
    for key in KEYS {
        assert!(advisory_core::try_lock(&mut holder, key).await.unwrap());
        assert!(!advisory_core::try_lock(&mut other, key).await.unwrap());
        assert!(
            !advisory_core::try_lock_shared(&mut other, key)
                .await
                .unwrap()
        );
        let mut tx = other.begin().await.unwrap();
        assert!(!advisory_core::try_xact_lock(&mut tx, key).await.unwrap());
        assert!(
            !advisory_core::try_xact_lock_shared(&mut tx, key)
                .await
                .unwrap()
        );
        tx.rollback().await.unwrap();
        assert!(advisory_core::unlock(&mut holder, key).await.unwrap());

        assert!(
            advisory_core::try_lock_shared(&mut holder, key)
                .await
                .unwrap()
        );
        assert!(
            advisory_core::try_lock_shared(&mut other, key)
                .await
                .unwrap()
        );
        assert!(!advisory_core::try_lock(&mut other, key).await.unwrap());
        advisory_core::unlock_all(&mut holder).await.unwrap();
        let mut tx = holder.begin().await.unwrap();
        assert!(!advisory_core::try_xact_lock(&mut tx, key).await.unwrap());
        assert!(
            advisory_core::try_xact_lock_shared(&mut tx, key)
                .await
                .unwrap()
        );
        tx.rollback().await.unwrap();
        advisory_core::unlock_all(&mut other).await.unwrap();
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
    let refused = [
        advisory_core::xact_lock(&mut conn, 1).await.unwrap_err(),
        advisory_core::xact_lock_shared(&mut conn, 1)
            .await
            .unwrap_err(),
        advisory_core::try_xact_lock(&mut conn, 1)
            .await
            .unwrap_err(),
        advisory_core::try_xact_lock_shared(&mut conn, 1)
            .await
            .unwrap_err(),
        advisory_core::AdvisoryLock::new(1)
            .acquire_xact(&mut conn)
            .await
            .unwrap_err(),
        advisory_core::AdvisoryLock::new(1)
            .try_acquire_xact(&mut conn)
            .await
            .unwrap_err(),
    ];
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
    sqlx::query("SET lock_timeout = '10ms'")
        .execute(&mut conn)
        .await
        .unwrap();
    let mut tx = conn.begin().await.unwrap();
    let error = advisory_core::xact_lock(&mut tx, 1).await.unwrap_err();
    assert!(error.is_not_acquired(), "{error:?}");
    tx.rollback().await.unwrap();

    // A session lock may have been granted in spite of the timeout, so the error is not "not
    // acquired".
    let error = advisory_core::lock(&mut conn, 1).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
}
