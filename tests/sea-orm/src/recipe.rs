//! Locks in the transactions of sea-orm.

use advisory_core::advisory;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Value};
use sea_orm::{DbBackend, Statement};

/// Joins the caller's transaction, which then holds both locks until it ends.
#[advisory(keys = ["account:{from}", "account:{to}"], timeout = 2)]
pub async fn transfer(
    tx: &DatabaseTransaction,
    from: i64,
    to: i64,
    cents: i64,
) -> Result<(), DbErr> {
    add(tx, from, -cents).await?;
    add(tx, to, cents).await
}

/// Opens a transaction of its own, `tx`. Returns `None` if another instance pays.
#[advisory(key = "interest", timeout = 0, side_effect = Skip, tx)]
pub async fn pay_interest(db: &DatabaseConnection, cents: i64) -> Result<Option<u64>, DbErr> {
    let pay = "UPDATE account SET cents = cents + $1 WHERE cents > 0";
    let pay = Statement::from_sql_and_values(DbBackend::Postgres, pay, [Value::from(cents)]);
    Ok(Some(tx.execute_raw(pay).await?.rows_affected()))
}

async fn add(conn: &impl ConnectionTrait, account: i64, cents: i64) -> Result<(), DbErr> {
    let add = "UPDATE account SET cents = cents + $2 WHERE id = $1";
    let values = [Value::from(account), Value::from(cents)];
    let add = Statement::from_sql_and_values(DbBackend::Postgres, add, values);
    conn.execute_raw(add).await?;
    Ok(())
}
