//! Dropped waits in the caller's transaction, with `cancel_via`. `drop` drops them at every poll.

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::{Database, drop_when};
use sqlx::{Executor as _, PgPool, PgTransaction};

#[advisory(key = "one", cancel_via = pool)]
async fn joins(tx: &mut PgTransaction<'_>, pool: &Pool) -> Result<(), Error> {
    tx.execute("SELECT 1").await?;
    Ok(())
}

/// The type has another name, so that the attribute does not take the parameter for a pool to lock
/// on.
type Pool = PgPool;

#[tokio::test]
async fn attribute_cancels_a_dropped_wait() {
    let (database, pool) = Database::with_pool(2).await;
    let held = AdvisoryLock::new("one").begin(&pool).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    database.drop_when_waiting(joins(&mut tx, &pool)).await;
    database.wait_until_waiting(0).await;
    drop(tx);
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn only_the_dropped_wait_is_cancelled() {
    let (database, pool) = Database::with_pool(4).await;
    let lock = AdvisoryLock::new("one");
    let held = lock.begin(&pool).await.unwrap();
    let lock = lock.cancel_via(&pool);
    let (mut one, mut two) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    let (kept, ()) = tokio::join!(lock.acquire_xact(&mut two), async {
        database.wait_until_waiting(1).await;
        let both = database.wait_until_waiting(2);
        drop_when(both, lock.acquire_xact(&mut one)).await;
        database.wait_until_waiting(1).await;
        assert!(one.execute("SELECT 1").await.is_err());
        held.rollback().await.unwrap();
    });
    kept.unwrap();
    two.commit().await.unwrap();
    one.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
