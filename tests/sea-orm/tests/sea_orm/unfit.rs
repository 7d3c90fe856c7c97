//! Servers on which a lock would not exclude others are refused.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, UnsupportedReason};
use advisory_tests::{Database, Server};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, TransactionTrait as _,
};

fn locks() -> [AdvisoryLock; 4] {
    let locks = [AdvisoryLock::new(1), AdvisoryLock::all([1, 2])];
    let [one, two] = locks
        .each_ref()
        .map(|lock| lock.clone().timeout(Duration::from_secs(20)));
    let [try_one, try_two] = locks.map(|lock| lock.timeout(Duration::ZERO));
    [one, two, try_one, try_two]
}

async fn assert_all_refused(database: &Database, expected: UnsupportedReason) {
    let pool = database.pool(2).await;
    let db = DatabaseConnection::from(pool.clone());
    for lock in locks() {
        let tx = db.begin().await.unwrap();
        let joined = lock.acquire_xact(&tx).await;
        // The transaction remains usable.
        tx.execute_unprepared("SELECT 1").await.unwrap();
        tx.rollback().await.unwrap();
        for refused in [joined.map(drop), lock.begin_sea_orm(&db).await.map(drop)] {
            match refused {
                Err(Error::Unsupported { reason, .. }) => assert_eq!(reason, expected),
                other => panic!("{other:?}"),
            }
        }
        database.assert_nothing_leaked(&pool).await;
    }
}

/// The new functions have new ids, because the server calls its own by id.
#[tokio::test]
async fn server_whose_functions_lock_nothing_is_refused() {
    let database = Database::new().await;
    for scope in ["", "_xact"] {
        for (name, result, body) in [
            (format!("pg_advisory{scope}_lock"), "void", "SELECT"),
            (
                format!("pg_try_advisory{scope}_lock"),
                "boolean",
                "SELECT true",
            ),
        ] {
            let replace = format!(
                "ALTER FUNCTION pg_catalog.{name}(bigint) RENAME TO own_{name}; \
                 CREATE FUNCTION pg_catalog.{name}(bigint) RETURNS {result} LANGUAGE sql AS '{body}'"
            );
            database.execute(replace).await;
        }
    }
    assert_all_refused(&database, UnsupportedReason::LocksDoNothing).await;
}

#[tokio::test]
async fn standby_is_refused() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let second = Database::at(&standby, &database);
    assert_all_refused(&second, UnsupportedReason::Standby).await;
}

/// Begins a nested transaction, until the answer does not come at once and its future is dropped.
async fn drop_nested_begin(tx: &DatabaseTransaction) {
    loop {
        tokio::select! {
            biased;
            nested = tx.begin() => nested.unwrap().rollback().await.unwrap(),
            () = std::future::ready(()) => return,
        }
    }
}

/// A nested transaction that is dropped while it begins ends the transaction, which sea-orm does
/// not know. So does a statement of the caller's.
#[tokio::test]
async fn transaction_that_has_ended_is_refused() {
    let (database, pool) = Database::with_pool(2).await;
    let db = DatabaseConnection::from(pool.clone());
    for lock in locks() {
        for is_nested in [true, false] {
            let tx = db.begin().await.unwrap();
            if is_nested {
                drop_nested_begin(&tx).await;
            } else {
                tx.execute_unprepared("ROLLBACK").await.unwrap();
            }
            let joined = lock.acquire_xact(&tx).await;
            assert!(matches!(joined, Err(Error::NotInTransaction)), "{joined:?}");
            let tried = lock.try_acquire_xact(&tx).await;
            assert!(matches!(tried, Err(Error::NotInTransaction)), "{tried:?}");
            let _ = tx.rollback().await;
        }
    }
    database.assert_nothing_leaked(&pool).await;
}
