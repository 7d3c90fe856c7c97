//! The attribute's `permits`.

use advisory_core::{AdvisoryLock, Error, LockSession, advisory};
use advisory_tests::Database;
use sqlx::{PgPool, PgTransaction};

use super::take;

#[advisory(key = "export", permits = 2, timeout = 1)]
async fn in_transaction(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[advisory(key = "export", permits = at_once, tx, timeout = 1)]
async fn in_new_transaction(pool: &PgPool, at_once: u32) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[advisory(key = "export", permits = 2, timeout = 0, side_effect = Skip)]
async fn skipped(pool: &PgPool) -> Result<Option<()>, Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(Some(()))
}

#[advisory(key = "export", permits = 1 + 1, scope = session, timeout = 1)]
async fn in_session(locks: &LockSession) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
async fn the_attribute_counts_with_the_methods() {
    let (database, pool) = Database::with_pool(6).await;
    let locks = LockSession::new(&pool);
    // It is open before the time of a lock begins.
    let other = AdvisoryLock::new("other").acquire(&locks).await.unwrap();
    other.release().await.unwrap();
    for taken in 0..=2 {
        let held = take(taken, 2, &pool).await;
        let is_free = taken < 2;
        let mut tx = pool.begin().await.unwrap();
        let joined = in_transaction(&mut tx).await;
        tx.rollback().await.unwrap();
        let opened = in_new_transaction(&pool, 2).await;
        let results = [joined, opened, in_session(&locks).await];
        for result in results {
            match result {
                Ok(()) => assert!(is_free),
                Err(error) => assert!(!is_free && error.is_not_acquired(), "{error}"),
            }
        }
        assert_eq!(skipped(&pool).await.unwrap().is_some(), is_free);
        drop(held);
        database.assert_nothing_leaked(&pool).await;
    }
    locks.close().await;
}
