//! Locks written by hand, with sqlx alone.

use std::time::Duration;

use sqlx::postgres::{PgPool, PgTransaction};
use sqlx::{AssertSqlSafe, Connection as _, Error, Executor as _, PgConnection};

const XACT_LOCK: &str = "SELECT pg_advisory_xact_lock($1)";

/// Begin, lock.
pub(crate) async fn begin(pool: &PgPool, key: i64) -> Result<PgTransaction<'static>, Error> {
    let mut tx = pool.begin().await?;
    call(XACT_LOCK, &mut tx, key).await?;
    Ok(tx)
}

/// Begin, lock, commit.
pub(crate) async fn transaction(pool: PgPool, key: i64) -> Result<(), Error> {
    begin(&pool, key).await?.commit().await
}

/// As [`transaction`], with the fewest round trips and bytes that sqlx can send.
pub(crate) async fn transaction_in_one_message(pool: PgPool, key: i64) -> Result<(), Error> {
    let begin = format!("BEGIN;SELECT pg_advisory_xact_lock('{key}')");
    let tx = pool.begin_with(AssertSqlSafe(begin)).await?;
    tx.commit().await
}

/// With a timeout. A savepoint keeps the transaction usable after the timeout, and the setting is
/// reset, so that it does not apply to later statements.
pub(crate) async fn transaction_with_timeout(
    pool: PgPool,
    key: i64,
    timeout: Duration,
) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let mut savepoint = tx.begin().await?;
    let set = format!("SET LOCAL lock_timeout = {}", timeout.as_millis());
    savepoint.execute(AssertSqlSafe(set)).await?;
    call(XACT_LOCK, &mut savepoint, key).await?;
    savepoint.execute("SET LOCAL lock_timeout = 0").await?;
    savepoint.commit().await?;
    tx.commit().await
}

/// Takes one lock for each key in an open transaction.
pub(crate) async fn one_by_one(conn: &mut PgConnection, keys: &[i64]) -> Result<(), Error> {
    for key in keys {
        call(XACT_LOCK, conn, *key).await?;
    }
    Ok(())
}

/// Tries to take the lock, and rolls back.
pub(crate) async fn skip(pool: &PgPool, key: i64) -> Result<bool, Error> {
    let mut tx = pool.begin().await?;
    let ask = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(key);
    let acquired = ask.fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok(acquired)
}

/// Locks and unlocks on one connection.
pub(crate) async fn session(pool: PgPool, key: i64) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    lock(&mut conn, key).await?;
    unlock(&mut conn, key).await
}

pub(crate) async fn lock(conn: &mut PgConnection, key: i64) -> Result<(), Error> {
    call("SELECT pg_advisory_lock($1)", conn, key).await
}

pub(crate) async fn try_lock(conn: &mut PgConnection, key: i64) -> Result<bool, Error> {
    let tried = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key);
    tried.fetch_one(conn).await
}

pub(crate) async fn unlock(conn: &mut PgConnection, key: i64) -> Result<(), Error> {
    call("SELECT pg_advisory_unlock($1)", conn, key).await
}

async fn call(function: &'static str, conn: &mut PgConnection, key: i64) -> Result<(), Error> {
    let called = sqlx::query(function).bind(key).execute(conn).await;
    called.map(drop)
}

/// As [`session`], with a timeout. The setting belongs to the session and is reset.
pub(crate) async fn session_with_timeout(
    pool: PgPool,
    key: i64,
    timeout: Duration,
) -> Result<(), Error> {
    let mut conn = pool.acquire().await?;
    let set = format!("SET lock_timeout = {}", timeout.as_millis());
    conn.execute(AssertSqlSafe(set)).await?;
    lock(&mut conn, key).await?;
    conn.execute("RESET lock_timeout").await?;
    unlock(&mut conn, key).await
}
