//! What people write who have sqlx and nothing else.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgTransaction};
use sqlx::{AssertSqlSafe, Connection as _, Error, Executor as _, PgConnection, raw_sql};

const XACT_LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// Begin, lock.
pub(crate) async fn begin(pool: &PgPool, key: i64) -> Result<PgTransaction<'static>, Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(XACT_LOCK).bind(key).execute(&mut *tx).await?;
    Ok(tx)
}

/// Begin, lock, commit.
pub(crate) async fn transaction(pool: &PgPool, key: i64) -> Result<(), Error> {
    begin(pool, key).await?.commit().await
}

/// The same, with the key in the text: behind a pooler that lends sessions out, a prepared statement may be another one's.
pub(crate) async fn transaction_as_text(pool: &PgPool, key: i64) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let lock = format!("SELECT pg_advisory_xact_lock('{key}')");
    tx.execute(raw_sql(AssertSqlSafe(lock))).await?;
    tx.commit().await
}

/// The same, in as few round trips and words as sqlx can.
pub(crate) async fn transaction_in_one_message(pool: &PgPool, key: i64) -> Result<(), Error> {
    let begin = format!("BEGIN;SELECT pg_advisory_xact_lock('{key}')");
    let tx = pool.begin_with(AssertSqlSafe(begin)).await?;
    tx.commit().await
}

/// With a timeout, as the careful do it: a savepoint, so that the transaction survives the timeout, and the setting as it was
/// afterwards, so that what follows is not timed out as well.
pub(crate) async fn transaction_with_timeout(
    pool: &PgPool,
    key: i64,
    timeout: Duration,
) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let mut savepoint = tx.begin().await?;
    let set = format!("SET LOCAL lock_timeout = {}", timeout.as_millis());
    savepoint.execute(AssertSqlSafe(set)).await?;
    sqlx::query(XACT_LOCK)
        .bind(key)
        .execute(&mut *savepoint)
        .await?;
    savepoint.execute("SET LOCAL lock_timeout = 0").await?;
    savepoint.commit().await?;
    tx.commit().await
}

/// A lock for each key, in a transaction that is there.
pub(crate) async fn one_by_one(conn: &mut PgConnection, keys: &[i64]) -> Result<(), Error> {
    for key in keys {
        sqlx::query(XACT_LOCK).bind(key).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Asks, and goes away with nothing.
pub(crate) async fn skip(pool: &PgPool, key: i64) -> Result<bool, Error> {
    let mut tx = pool.begin().await?;
    let ask = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(key);
    let acquired = ask.fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok(acquired)
}

/// Lock and unlock, on one connection.
pub(crate) async fn session(pool: &PgPool, key: i64) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
    lock.execute(&mut *conn).await?;
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(key);
    unlock.execute(&mut *conn).await?;
    Ok(())
}

/// The same with a timeout: the setting is the session's, and is put back.
pub(crate) async fn session_with_timeout(
    pool: &PgPool,
    key: i64,
    timeout: Duration,
) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    let set = format!("SET lock_timeout = {}", timeout.as_millis());
    conn.execute(AssertSqlSafe(set)).await?;
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
    lock.execute(&mut *conn).await?;
    conn.execute("RESET lock_timeout").await?;
    let unlock = sqlx::query("SELECT pg_advisory_unlock($1)").bind(key);
    unlock.execute(&mut *conn).await?;
    Ok(())
}
