//! The attribute opens a transaction on a pool, however the parameter is written.

use std::sync::Arc;

use advisory_core::{Error, advisory};
use sqlx::{PgPool, Pool, Postgres};

#[advisory]
async fn borrowed(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[advisory]
async fn owned(pool: PgPool) -> Result<(), Error> {
    pool.close().await;
    Ok(())
}

#[advisory]
async fn moved(pool: PgPool) -> Result<PgPool, Error> {
    Ok(pool)
}

#[advisory]
async fn generic(pool: &Pool<Postgres>) -> Result<(), Error> {
    borrowed(pool).await
}

#[advisory]
async fn shared(pool: Arc<PgPool>) -> Result<Arc<PgPool>, Error> {
    borrowed(&pool).await?;
    Ok(pool)
}

#[advisory]
async fn shared_and_borrowed(pool: &Arc<Pool<Postgres>>) -> Result<(), Error> {
    borrowed(pool).await
}

#[advisory]
async fn borrowed_twice(pool: &&PgPool) -> Result<(), Error> {
    borrowed(pool).await
}

#[advisory]
async fn nameless(_: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn unused(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn marked_as_unused(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(tx)]
async fn in_the_transaction(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(done.rows_affected())
}

#[advisory(tx = locked)]
async fn in_a_named_transaction(pool: PgPool, tx: &str) -> Result<(), sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(tx))
        .execute(&mut **locked)
        .await?;
    nested(locked).await
}

async fn nested(tx: &mut sqlx::PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await.map(drop)
}

#[advisory]
async fn with_a_transaction_of_its_own(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    nested(&mut tx).await?;
    tx.commit().await
}

#[advisory(key = 1)]
async fn with_transactions_of_its_own(pool: &PgPool) -> Result<(), Error> {
    if let Ok(Some(mut tx)) = pool.try_begin().await {
        sqlx::query("SELECT 1").execute(&mut *tx).await?;
    }
    let lock = advisory_core::AdvisoryLock::new("inner");
    let inner = async |tx: &mut sqlx::PgTransaction<'_>| {
        sqlx::query("SELECT 1").execute(&mut **tx).await?;
        Ok::<_, Error>(())
    };
    lock.transaction(pool, inner).await
}

#[advisory]
async fn opaque(pool: &PgPool) -> Result<impl Iterator<Item = u8> + use<>, Error> {
    Ok([1, 2].into_iter())
}

#[advisory]
async fn opaque_inside(pool: &PgPool) -> sqlx::Result<Vec<Box<impl Fn(u8) -> u8 + use<>>>> {
    Ok(vec![Box::new(|n| n)])
}

#[advisory]
async fn borrowing<'a>(pool: &PgPool, name: &'a str) -> Result<&'a str, Error> {
    Ok(name)
}
