//! Other attributes above and below.

use advisory_core::{Error, advisory};
use advisory_tests::Database;
use sqlx::{PgConnection, PgPool, PgTransaction};

#[tracing::instrument(skip(tx))]
#[advisory(key = "sync({id})")]
async fn instrumented(tx: &mut PgTransaction<'_>, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(key = "sync({id})")]
#[tracing::instrument(skip_all, fields(id), err)]
async fn instrumented_inside(tx: &mut PgTransaction<'_>, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[tracing::instrument(skip_all)]
#[advisory(tx)]
async fn instrumented_on_a_pool(pool: &PgPool) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query("SELECT 1")
        .execute(&mut **tx)
        .await?
        .rows_affected())
}

#[advisory]
#[tracing::instrument]
async fn instrumented_inside_on_a_pool(pool: &PgPool) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query("SELECT 1").execute(pool).await?.rows_affected())
}

#[tracing::instrument]
#[advisory]
async fn instrumented_on_a_connection(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(conn).await.map(drop)
}

#[advisory]
#[expect(unused_variables, reason = "kept")]
#[cfg(not(any()))]
async fn others(pool: &PgPool, unused: u8) -> Result<(), Error> {
    Ok(())
}

#[tokio::test]
#[advisory(key = "test", on = Database::new().await.pool(2).await)]
async fn below_a_test() -> Result<(), Error> {
    tokio::task::yield_now().await;
    Ok(())
}

#[advisory(key = "test", on = Database::new().await.pool(1).await, tx)]
#[tokio::test(flavor = "multi_thread")]
async fn above_a_test() -> Result<(), Error> {
    instrumented(tx, 1).await?;
    Ok(())
}
