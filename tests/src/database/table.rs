//! A table in which tests write, and queries of one value.

use sqlx::postgres::{PgExecutor, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, FromRow};

use super::Database;

/// Writes a row to the table of [`Database::with_table`].
pub const WRITE: &str = "INSERT INTO written VALUES (1)";

impl Database {
    /// A new database as [`new`](Self::new), and a pool on it.
    ///
    /// # Panics
    ///
    /// If no server can be used, or the server refuses.
    pub async fn with_pool(max_connections: u32) -> (Self, PgPool) {
        let database = Self::new().await;
        let pool = database.pool(max_connections).await;
        (database, pool)
    }

    /// As [`with_pool`](Self::with_pool), with a table to which [`WRITE`] writes.
    ///
    /// # Panics
    ///
    /// If no server can be used, or the server refuses.
    pub async fn with_table(max_connections: u32) -> (Self, PgPool) {
        let (database, pool) = Self::with_pool(max_connections).await;
        let create = pool.execute("CREATE TABLE written (n int)").await;
        create.unwrap_or_else(|error| panic!("a table can be created: {error}"));
        (database, pool)
    }
}

impl Database {
    /// Runs statements on a connection of its own.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn execute(&self, statements: impl Into<String>) {
        let statements = AssertSqlSafe(statements.into());
        let executed = self.connection().await.execute(statements).await;
        executed.unwrap_or_else(|error| panic!("the statements can be executed: {error}"));
    }
}

/// The number of committed rows in the table of [`Database::with_table`].
///
/// # Panics
///
/// If the server refuses.
pub async fn written(executor: impl PgExecutor<'_>) -> i64 {
    scalar(executor, "SELECT count(*) FROM written").await
}

/// The one value that a statement returns.
///
/// # Panics
///
/// If the statement fails, or returns nothing.
pub async fn scalar<T>(executor: impl PgExecutor<'_>, statement: &'static str) -> T
where
    T: Send + Unpin,
    (T,): for<'r> FromRow<'r, PgRow>,
{
    let value = sqlx::query_scalar(statement).fetch_one(executor).await;
    value.unwrap_or_else(|error| panic!("{statement}: {error}"))
}

/// Leaves a pooled connection in a transaction, as a dropped `begin` of sqlx does. The last
/// statement may fail, and leave it aborted.
///
/// # Panics
///
/// If the pool lends no connection.
pub async fn abandon_a_transaction(pool: &PgPool, statements: &'static str) {
    let conn = pool.acquire().await;
    let mut conn = conn.unwrap_or_else(|error| panic!("a connection is lent: {error}"));
    let _ = conn.execute(statements).await;
}
