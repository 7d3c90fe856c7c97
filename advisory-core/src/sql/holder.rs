//! Who holds a lock.

use std::time::Duration;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::literal::array;
use crate::error::Holder;
use crate::{AdvisoryLock, Key};

/// As many holders as an error names.
const MOST: usize = 8;

/// The message that asks for the holders of a lock.
pub(crate) fn message(lock: &AdvisoryLock) -> String {
    let columns = |part: fn((u32, u32, i16)) -> i64| {
        array(
            &lock
                .keys()
                .iter()
                .map(|key| part(Key::to_pg_locks(*key)))
                .collect::<Vec<_>>(),
        )
    };
    format!(
        "SELECT DISTINCT COALESCE(l.pid,0) AS pid,CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application,\
         pg_catalog.date_part('epoch',pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) a.xact_start) AS since \
         FROM ROWS FROM(pg_catalog.unnest({classid}::pg_catalog.oid[]),pg_catalog.unnest({objid}::pg_catalog.oid[]),\
         pg_catalog.unnest({objsubid}::pg_catalog.int2[])) AS k(classid,objid,objsubid) \
         JOIN pg_catalog.pg_locks AS l ON l.classid OPERATOR(pg_catalog.=) k.classid \
         AND l.objid OPERATOR(pg_catalog.=) k.objid AND l.objsubid OPERATOR(pg_catalog.=) k.objsubid \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
         AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND COALESCE(l.pid,0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() \
         ORDER BY pid LIMIT {MOST}",
        classid = columns(|(classid, _, _)| classid.into()),
        objid = columns(|(_, objid, _)| objid.into()),
        objsubid = columns(|(_, _, objsubid)| objsubid.into()),
    )
}

/// Sends a message that ends with [`message`].
pub(crate) async fn ask(
    conn: &mut PgConnection,
    message: String,
) -> Result<Vec<Holder>, sqlx::Error> {
    let rows = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    rows.iter().map(holder).collect()
}

fn holder(row: &PgRow) -> Result<Holder, sqlx::Error> {
    let since: Option<f64> = row.try_get("since")?;
    Ok(Holder {
        pid: row.try_get("pid")?,
        application: row.try_get("application")?,
        since: since.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    })
}
