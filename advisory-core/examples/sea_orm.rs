//! Locks in the transactions of sea-orm.
//!
//! Two instances receive the same webhook delivery at the same moment. Each looks whether the
//! delivery is known and, if not, stores it: in one transaction of sea-orm's, under a lock on the
//! delivery. The second instance waits until the first one has committed, and then sees its row.
//!
//! ```text
//! cargo run --example sea_orm --features sea-orm
//! ```

use advisory_core::{AdvisoryLock, Error, advisory};
use advisory_tests::Database;
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement,
    TransactionTrait as _,
};
use tokio::join;

/// Opens a transaction of sea-orm's, `tx`, which holds the lock. Returns whether the delivery is
/// new.
#[advisory(key = "delivery:{id}", timeout = 5, tx)]
async fn receive(db: &DatabaseConnection, id: &str) -> Result<bool, DbErr> {
    let known = "SELECT 1 FROM delivery WHERE id = $1";
    if tx.query_one_raw(statement(known, id)).await?.is_some() {
        return Ok(false);
    }
    store(tx, id).await?;
    Ok(true)
}

/// Joins the caller's transaction. Returns `None` if somebody else has the delivery.
#[advisory(key = "delivery:{id}", timeout = 0, side_effect = Skip)]
async fn forget(tx: &DatabaseTransaction, id: &str) -> Result<Option<u64>, DbErr> {
    let delete = statement("DELETE FROM delivery WHERE id = $1", id);
    Ok(Some(tx.execute_raw(delete).await?.rows_affected()))
}

async fn store(tx: &DatabaseTransaction, id: &str) -> Result<(), DbErr> {
    let insert = statement("INSERT INTO delivery (id) VALUES ($1)", id);
    tx.execute_raw(insert).await.map(drop)
}

fn statement(sql: &str, id: &str) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [id.into()])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Database::new().await;
    let instances = [database.pool(5).await, database.pool(5).await];
    let [one, other] = instances.map(DatabaseConnection::from);
    one.execute_unprepared("CREATE TABLE delivery (id text)")
        .await?;

    let (first, second) = join!(receive(&one, "42"), receive(&other, "42"));
    let (first, second) = (first?, second?);
    assert!(first ^ second, "one of them has stored it");
    println!(
        "two instances received delivery 42; new for the first: {first}, for the second: {second}"
    );

    let holder = AdvisoryLock::new("delivery:42").begin_sea_orm(&one).await?;
    let tx = other.begin().await?;
    assert_eq!(forget(&tx, "42").await?, None);
    println!("the lock is held, so the delivery is skipped, and the transaction is usable");
    let lock = AdvisoryLock::new("delivery:42").timeout(std::time::Duration::ZERO);
    let refused = lock.acquire_xact(&tx).await.unwrap_err();
    assert!(refused.is_not_acquired());
    println!("the error names the holder: {refused}");
    holder.commit().await?;
    assert_eq!(forget(&tx, "42").await?, Some(1));
    tx.commit().await?;

    let error: Error = DbErr::from(Error::NotInTransaction).into();
    println!("an error that became sea-orm's is restored: {error}");
    Ok(())
}
