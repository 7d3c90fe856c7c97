//! The attribute on sea-orm's transactions and connections.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Periods, advisory};
use advisory_tests::{Database, WRITE, written};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbConn, DbErr,
    TransactionTrait as _,
};
use sqlx::PgPool;

#[advisory(key = "sync({id})", timeout = 20)]
async fn joined(tx: &DatabaseTransaction, id: i64) -> Result<i64, DbErr> {
    tx.execute_unprepared(WRITE).await?;
    Ok(id)
}

#[advisory(key = "sync({id})", timeout = 0, side_effect = Skip)]
async fn joined_or_skipped(tx: &DatabaseTransaction, id: i64) -> Result<Option<i64>, DbErr> {
    tx.execute_unprepared(WRITE).await?;
    Ok(Some(id))
}

#[advisory(keys = ["sync({id})", "other"], timeout = 0.05)]
async fn refused(tx: &DatabaseTransaction, id: i64) -> Result<(), DbErr> {
    Ok(())
}

#[advisory(key = "sync({id})")]
async fn by_value(tx: DatabaseTransaction, id: i64) -> Result<(), Error> {
    tx.execute_unprepared(WRITE).await?;
    tx.commit().await?;
    Ok(())
}

#[advisory(key = "sync({id})", tx)]
async fn opened(db: &DatabaseConnection, id: i64) -> Result<i64, DbErr> {
    tx.execute_unprepared(WRITE).await?;
    if id < 0 {
        return Err(DbErr::Custom("negative".into()));
    }
    Ok(id)
}

#[advisory(key = "sync({id})", timeout = 0, side_effect = Skip, tx)]
async fn opened_or_skipped(db: Arc<DbConn>, id: i64) -> Result<Option<i64>, Error> {
    tx.execute_unprepared(WRITE).await?;
    Ok(Some(id))
}

#[advisory(key = "sync({id})", timeout = 0, side_effect = Skip)]
async fn beside(db: &DatabaseConnection, id: i64) -> Result<Option<i64>, DbErr> {
    db.execute_unprepared(WRITE).await?;
    Ok(Some(id))
}

#[advisory(key = "sync({id})", scope = session, timeout = 0, side_effect = Skip)]
async fn in_session(db: &DatabaseConnection, id: i64) -> Result<Option<i64>, DbErr> {
    db.execute_unprepared(WRITE).await?;
    Ok(Some(id))
}

struct Service {
    db: DatabaseConnection,
}

impl Service {
    #[advisory(key = "sync({id})", on = self.db, tx = locked)]
    async fn method(&self, id: i64) -> Result<i64, DbErr> {
        locked.execute_unprepared(WRITE).await?;
        Ok(id)
    }
}

async fn set_up() -> (Database, PgPool, DatabaseConnection) {
    let (database, pool) = Database::with_table(5).await;
    let db = pool.clone().into();
    (database, pool, db)
}

#[tokio::test]
async fn lock_joins_a_transaction_and_is_held_until_it_ends() {
    let (database, pool, db) = set_up().await;
    let tx = db.begin().await.unwrap();
    assert_eq!(joined(&tx, 4).await.unwrap(), 4);
    assert_eq!(database.advisory_locks().await.len(), 1);
    tx.rollback().await.unwrap();
    assert_eq!(written(&pool).await, 0);
    by_value(db.begin().await.unwrap(), 4).await.unwrap();
    assert_eq!(written(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn transaction_is_usable_after_a_skip_and_a_refusal() {
    let (database, pool, db) = set_up().await;
    let holder = AdvisoryLock::new("sync(4)").begin_sea_orm(&db).await;
    let holder = holder.unwrap();
    let tx = db.begin().await.unwrap();
    assert_eq!(joined_or_skipped(&tx, 4).await.unwrap(), None);
    assert_eq!(joined_or_skipped(&tx, 5).await.unwrap(), Some(5));
    let error = Error::from(refused(&tx, 4).await.unwrap_err());
    assert!(error.is_not_acquired(), "{error:?}");
    tx.commit().await.unwrap();
    holder.commit().await.unwrap();
    assert_eq!(written(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn transaction_on_a_connection_commits_on_ok_and_rolls_back_on_err() {
    let (database, pool, db) = set_up().await;
    assert_eq!(opened(&db, 4).await.unwrap(), 4);
    assert_eq!(written(&pool).await, 1);
    opened(&db, -4).await.unwrap_err();
    assert_eq!(written(&pool).await, 1);
    let service = Service { db: db.clone() };
    assert_eq!(service.method(4).await.unwrap(), 4);
    assert_eq!(written(&pool).await, 2);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn every_form_on_a_connection_skips_what_is_locked() {
    let (database, pool, db) = set_up().await;
    let shared = Arc::new(db.clone());
    for (expected, is_locked) in [(Some(4), false), (None, true)] {
        let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_secs(20));
        let holder = if is_locked {
            Some(lock.begin_sea_orm(&db).await.unwrap())
        } else {
            None
        };
        let done = opened_or_skipped(Arc::clone(&shared), 4).await;
        assert_eq!(done.unwrap(), expected);
        assert_eq!(beside(&db, 4).await.unwrap(), expected);
        assert_eq!(in_session(&db, 4).await.unwrap(), expected);
        drop(holder);
    }
    assert_eq!(written(&pool).await, 3);
    database.wait_until_held(0).await;
}

#[advisory(key = "nightly", every = "520w")]
async fn nightly(tx: &DatabaseTransaction) -> Result<Option<()>, DbErr> {
    tx.execute_unprepared(WRITE).await?;
    Ok(Some(()))
}

#[advisory(key = "nightly", every = "520w", tx)]
async fn nightly_opened(db: &DatabaseConnection) -> Result<Option<()>, DbErr> {
    tx.execute_unprepared(WRITE).await?;
    Ok(Some(()))
}

#[advisory(key = "nightly", every = "520w")]
async fn nightly_beside(db: &DatabaseConnection) -> Result<Option<()>, DbErr> {
    db.execute_unprepared(WRITE).await?;
    Ok(Some(()))
}

#[advisory(key = "nightly", every = "520w", scope = session)]
async fn nightly_in_session(db: &DatabaseConnection) -> Result<Option<()>, DbErr> {
    db.execute_unprepared(WRITE).await?;
    Ok(Some(()))
}

#[tokio::test]
async fn a_job_runs_once_per_period_whatever_it_locks_on() {
    let (database, pool, db) = set_up().await;
    let missing = nightly_opened(&db).await.unwrap_err().to_string();
    assert!(missing.contains("CREATE TABLE"), "{missing}");
    Periods::create(&pool).await.unwrap();
    // A mark that is rolled back leaves the period open.
    let tx = db.begin().await.unwrap();
    assert_eq!(nightly(&tx).await.unwrap(), Some(()));
    tx.rollback().await.unwrap();
    assert_eq!(nightly_opened(&db).await.unwrap(), Some(()));
    let tx = db.begin().await.unwrap();
    assert_eq!(nightly(&tx).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(nightly_opened(&db).await.unwrap(), None);
    assert_eq!(nightly_beside(&db).await.unwrap(), None);
    assert_eq!(nightly_in_session(&db).await.unwrap(), None);
    database.assert_nothing_leaked(&pool).await;
}
