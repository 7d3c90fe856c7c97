//! What can end or break a transaction that holds a lock, unknown to the library.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use advisory_verbs::{Access, Verb};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// Drops a nested `begin` of sqlx half-way, which rolls the outer transaction back. On a busy
/// machine a `begin` may be answered at once, and then the next one is tried.
async fn drop_nested_begin(conn: &mut PgConnection) {
    loop {
        let mut nested = pin!(conn.begin());
        if futures_util::poll!(nested.as_mut()).is_pending() {
            return;
        }
    }
}

#[tokio::test]
async fn transaction_that_has_ended_in_the_body_is_an_error_and_not_a_commit() {
    let (database, pool) = Database::with_pool(2).await;
    for verb in Verb::all(Verb::opens_transaction) {
        // The caller of these two ends the transaction.
        if matches!(verb, Verb::Begin | Verb::TryBegin) || verb.access() == Access::Beside {
            continue;
        }
        let ended = verb.run(&AdvisoryLock::new("one"), &pool, |held| {
            Box::pin(async move {
                let conn = held.expect("the body runs in the transaction");
                drop_nested_begin(conn).await;
                Ok::<_, Error>(())
            })
        });
        let ended = ended.await.unwrap_err();
        assert!(ended.is_lost(), "{verb}: {ended:?}");
        // A verb that does not wait comes next.
        database.wait_until_held(0).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

/// A statement that the caller has dropped keeps the connection busy. A timeout still ends the
/// call.
#[tokio::test]
async fn timeout_ends_a_call_behind_a_dropped_statement() {
    let (_database, pool) = Database::with_pool(2).await;
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
