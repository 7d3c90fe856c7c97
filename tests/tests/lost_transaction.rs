//! What can end or break a transaction that holds a lock, behind the library's back.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, PgTransaction};

/// Drops a nested `begin` of sqlx's half-way, which rolls the outer transaction back.
async fn drop_nested_begin(conn: &mut PgConnection) {
    let mut nested = pin!(conn.begin());
    assert!(futures_util::poll!(nested.as_mut()).is_pending());
}

#[advisory(key = "one", tx)]
async fn in_transaction(pool: &PgPool) -> Result<(), Error> {
    drop_nested_begin(tx).await;
    Ok(())
}

#[advisory(key = "one")]
async fn on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    drop_nested_begin(conn).await;
    Ok(())
}

#[tokio::test]
async fn transaction_that_has_ended_in_the_body_is_an_error_and_not_a_commit() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let body = async |tx: &mut PgTransaction<'_>| {
        drop_nested_begin(tx).await;
        Ok::<_, Error>(())
    };
    let lock = AdvisoryLock::new("one");
    let ended = lock.transaction(&pool, body).await.unwrap_err();
    assert!(ended.is_lost(), "{ended:?}");
    let ended = lock.try_transaction(&pool, body).await.unwrap_err();
    assert!(ended.is_lost(), "{ended:?}");
    let ended = in_transaction(&pool).await.unwrap_err();
    assert!(ended.is_lost(), "{ended:?}");
    let mut conn = pool.acquire().await.unwrap();
    let ended = on_connection(&mut conn).await.unwrap_err();
    assert!(ended.is_lost(), "{ended:?}");
    drop(conn);
    database.assert_nothing_leaked(&pool).await;
}

/// Leaves the pool's connection inside an aborted transaction that sqlx does not track.
async fn abort_a_transaction(pool: &PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    conn.execute("BEGIN; SELECT 1/0").await.unwrap_err();
}

#[tokio::test]
async fn aborted_transaction_in_the_pool_fails_no_verb() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    for lock in [
        AdvisoryLock::new("one"),
        AdvisoryLock::new("one").timeout(Duration::from_mins(1)),
        AdvisoryLock::all(["one", "two"]),
    ] {
        for _ in 0..2 {
            abort_a_transaction(&pool).await;
            let tx = lock.begin(&pool).await.unwrap();
            tx.commit().await.unwrap();
            abort_a_transaction(&pool).await;
            let tx = lock.clone().timeout(Duration::ZERO).try_begin(&pool).await;
            tx.unwrap().unwrap().commit().await.unwrap();
            abort_a_transaction(&pool).await;
            let guard = lock.acquire(&pool).await.unwrap();
            guard.release().await.unwrap();
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

/// A statement that the caller has dropped keeps the connection busy: a timeout still ends the call.
#[tokio::test]
async fn timeout_ends_a_call_behind_a_dropped_statement() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let lock = AdvisoryLock::new("one")
        .timeout(Duration::from_millis(100))
        .response_timeout(Duration::from_millis(100));
    let mut tx = pool.begin().await.unwrap();
    {
        let mut statement = pin!(tx.execute("SELECT pg_sleep(600)"));
        assert!(futures_util::poll!(statement.as_mut()).is_pending());
    }
    let ended = lock.acquire_xact(&mut tx).await.unwrap_err();
    assert!(
        matches!(ended, Error::Database(sqlx::Error::Io(_))),
        "{ended:?}"
    );
}
