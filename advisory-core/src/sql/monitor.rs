//! Who holds and who waits for advisory locks, and how to end it.

use std::cmp::Reverse;
use std::time::Duration;

use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgExecutor, PgRow};
use sqlx::{AssertSqlSafe, Execute as _, Row as _};

use crate::monitor::LockStatus;
use crate::{Key, Mode};

/// Which locks are asked for.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    ThisDatabase,
    AllDatabases,
    /// One key, in this database.
    Of(Key),
}

/// The statement is checked by `query!` and sent as one message with literals, like the functions: it is as good behind a pooler.
pub(crate) async fn locks(
    executor: impl PgExecutor<'_>,
    which: Which,
) -> Result<Vec<LockStatus>, sqlx::Error> {
    let rows = executor
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message(which))))
        .await?;
    let mut locks: Vec<_> = rows.iter().map(status).collect::<Result<_, _>>()?;
    // Not by the server: ten thousand wide rows do not fit its `work_mem`.
    locks.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(locks)
}

/// By key, holders first, the longest first.
fn order(lock: &LockStatus) -> impl Ord + use<'_> {
    let since = Reverse(lock.since);
    (&lock.database, lock.key, !lock.granted, since, lock.pid)
}

/// A function that sends a signal to a backend that holds or waits for an advisory lock; false if there is none.
macro_rules! signal {
    ($name:ident, $function:literal) => {
        pub(crate) async fn $name(
            executor: impl PgExecutor<'_>,
            pid: i32,
        ) -> Result<bool, sqlx::Error> {
            let text = sqlx::query_scalar!(
                "SELECT pg_catalog." + $function + r#"(l.pid) AS "signalled!" FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks AS l
           WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4) AS l"#,
                pid
            );
            signal(executor, text.sql().as_str(), pid).await
        }
    };
}

signal!(cancel, "pg_cancel_backend");
signal!(terminate, "pg_terminate_backend");

async fn signal(executor: impl PgExecutor<'_>, text: &str, pid: i32) -> Result<bool, sqlx::Error> {
    let message = text.replace("$1", &format!("'{pid}'"));
    let signalled = executor
        .fetch_optional(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    signalled.map_or(Ok(false), |row| row.try_get(0))
}

fn message(which: Which) -> String {
    let all = matches!(which, Which::AllDatabases);
    let columns = match which {
        Which::Of(key) => Some(key.to_pg_locks()),
        Which::ThisDatabase | Which::AllDatabases => None,
    };
    let text = sqlx::query!(
        r#"WITH k AS MATERIALIZED(SELECT k.* FROM pg_catalog.pg_locks AS k)
           SELECT l.classid::pg_catalog.int8 AS "classid!",l.objid::pg_catalog.int8 AS "objid!",l.objsubid AS "objsubid!",
           l.mode OPERATOR(pg_catalog.=) 'ShareLock' AS "is_shared!",l.granted AS "granted!",
           COALESCE(l.pid,0) AS "pid!",d.datname::pg_catalog.text AS "database!",
           CASE WHEN l.granted THEN '{}'::pg_catalog.int4[] ELSE pg_catalog.pg_blocking_pids(l.pid) END AS "blocked_by!",
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-)
             CASE WHEN l.granted THEN COALESCE(p.prepared,a.xact_start) ELSE l.waitstart END) AS since,
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.state_change) AS state_since,
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start) AS connected_since,
           CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application,
           COALESCE(p.owner,a.usename)::pg_catalog.text AS "user?",
           CASE WHEN a.client_port OPERATOR(pg_catalog.=) -1 THEN 'local' ELSE pg_catalog.host(a.client_addr) END AS client,
           a.state AS "state?",a.wait_event_type OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) a.wait_event AS wait_event,p.gid AS "prepared?",
           CASE WHEN a.query OPERATOR(pg_catalog.<>) '<insufficient privilege>' THEN a.query END AS query
           FROM k AS l JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database
           LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
           LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON l.pid IS NULL AND EXISTS(SELECT FROM k AS x
             WHERE x.pid IS NULL AND x.locktype OPERATOR(pg_catalog.=) 'transactionid'
             AND x.transactionid OPERATOR(pg_catalog.=) p.transaction
             AND x.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction)
           WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'
             AND ($1::pg_catalog.bool OR d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
             AND ($2::pg_catalog.oid IS NULL OR l.classid OPERATOR(pg_catalog.=) $2::pg_catalog.oid)
             AND ($3::pg_catalog.oid IS NULL OR l.objid OPERATOR(pg_catalog.=) $3::pg_catalog.oid)
             AND ($4::pg_catalog.int2 IS NULL OR l.objsubid OPERATOR(pg_catalog.=) $4::pg_catalog.int2)"#,
        all,
        columns.map(|(classid, _, _)| Oid(classid)),
        columns.map(|(_, objid, _)| Oid(objid)),
        columns.map(|(_, _, objsubid)| objsubid),
    );
    let literal = |part: Option<i64>| part.map_or("NULL".to_owned(), |part| format!("'{part}'"));
    text.sql()
        .as_str()
        .replace("$1", if all { "true" } else { "false" })
        .replace(
            "$2",
            &literal(columns.map(|(classid, _, _)| classid.into())),
        )
        .replace("$3", &literal(columns.map(|(_, objid, _)| objid.into())))
        .replace(
            "$4",
            &literal(columns.map(|(_, _, objsubid)| objsubid.into())),
        )
}

fn status(row: &PgRow) -> Result<LockStatus, sqlx::Error> {
    let ago = |column| -> Result<Option<Duration>, sqlx::Error> {
        let seconds: Option<f64> = row.try_get(column)?;
        Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    };
    Ok(LockStatus {
        key: key(row)?,
        mode: if row.try_get("is_shared!")? {
            Mode::Shared
        } else {
            Mode::Exclusive
        },
        granted: row.try_get("granted!")?,
        pid: row.try_get("pid!")?,
        database: row.try_get("database!")?,
        blocked_by: row.try_get("blocked_by!")?,
        since: ago("since")?,
        state_since: ago("state_since")?,
        connected_since: ago("connected_since")?,
        application: row.try_get("application")?,
        user: row.try_get("user?")?,
        client: row.try_get("client")?,
        state: row.try_get("state?")?,
        wait_event: row.try_get("wait_event")?,
        prepared: row.try_get("prepared?")?,
        query: row.try_get("query")?,
    })
}

fn key(row: &PgRow) -> Result<Key, sqlx::Error> {
    let half = |column| -> Result<u32, sqlx::Error> {
        let half: i64 = row.try_get(column)?;
        u32::try_from(half).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let (classid, objid) = (half("classid!")?, half("objid!")?);
    let objsubid = row.try_get("objsubid!")?;
    Key::from_pg_locks(classid, objid, objsubid).ok_or_else(|| {
        sqlx::Error::Decode(format!("`pg_locks.objsubid` is {objsubid}, expected 1 or 2").into())
    })
}
