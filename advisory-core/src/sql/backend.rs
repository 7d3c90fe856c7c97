//! What one session says about another, or about itself.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::Key;

/// The comment by which the backend that runs a message is found.
pub(crate) fn tagged(tag: &str, message: &str) -> String {
    format!("/* {tag} */{message}")
}

/// Cancels the message with this tag, if it still waits for an advisory lock. Returns whether it was found.
pub(crate) async fn cancel(conn: &mut PgConnection, tag: &str) -> Result<bool, sqlx::Error> {
    let message = format!(
        "SELECT pg_catalog.pg_cancel_backend(a.pid) FROM pg_catalog.pg_stat_activity AS a \
         WHERE pg_catalog.starts_with(a.query,'/* {tag} */') AND a.state OPERATOR(pg_catalog.=) 'active' \
         AND a.wait_event OPERATOR(pg_catalog.=) 'advisory'"
    );
    let cancelled = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    Ok(!cancelled.is_empty())
}

/// Whether a transaction is open, also one that was begun behind sqlx's back.
pub(crate) async fn is_in_transaction(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let message = concat!("SELECT ", in_transaction!());
    conn.fetch_one(sqlx::raw_sql(message)).await?.try_get(0)
}

/// The keys that this session holds, whatever for.
pub(crate) async fn held(conn: &mut PgConnection) -> Result<Vec<Key>, sqlx::Error> {
    let message = "SELECT l.classid::pg_catalog.int8,l.objid::pg_catalog.int8,l.objsubid \
         FROM pg_catalog.pg_locks AS l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.granted";
    let rows = conn.fetch_all(sqlx::raw_sql(message)).await?;
    Ok(rows.iter().filter_map(key).collect())
}

fn key(row: &PgRow) -> Option<Key> {
    let half = |column| {
        row.try_get(column)
            .ok()
            .and_then(|half: i64| u32::try_from(half).ok())
    };
    Key::from_pg_locks(half(0)?, half(1)?, row.try_get(2).ok()?)
}
