//! What one session says about another, or about itself.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::message::Platform;
use super::server;
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

/// Whether a transaction is open, also one that was begun behind sqlx's back, and the server.
pub(crate) async fn surroundings(conn: &mut PgConnection) -> Result<(bool, String), sqlx::Error> {
    let message = concat!("SELECT ", in_transaction!(), ",", server!());
    let row = conn.fetch_one(sqlx::raw_sql(message)).await?;
    Ok((row.try_get(0)?, server(&row, 1)?))
}

/// What a session says of a lock that it was granted.
pub(crate) struct Witness {
    pub(crate) is_held: bool,
    pub(crate) server: String,
    pub(crate) platform: Platform,
}

/// Whether this session holds a key, and on what.
pub(crate) async fn holds(conn: &mut PgConnection, key: Key) -> Result<Witness, sqlx::Error> {
    let (classid, objid, objsubid) = key.to_pg_locks();
    let message = format!(
        concat!(
            "SELECT EXISTS(SELECT FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_database AS d \
             ON d.oid OPERATOR(pg_catalog.=) l.database \
             WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
             AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
             AND l.classid OPERATOR(pg_catalog.=) '{}'::pg_catalog.oid \
             AND l.objid OPERATOR(pg_catalog.=) '{}'::pg_catalog.oid \
             AND l.objsubid OPERATOR(pg_catalog.=) '{}'::pg_catalog.int2 \
             AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()),",
            server!(),
            ",",
            check_interval!()
        ),
        classid, objid, objsubid
    );
    let row = conn
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    let platform = match row.try_get(3)? {
        "0" => Platform::Unknown,
        _ => Platform::NoticesClosedClient,
    };
    Ok(Witness {
        is_held: row.try_get(0)?,
        server: server(&row, 1)?,
        platform,
    })
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
