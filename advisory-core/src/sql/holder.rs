//! The holders of a lock, for an error.

use super::call::array_literal;
use super::origin::is_this_process;
use crate::key::Key;
use crate::lock::{LockId, Mode};

/// An error names at most this many holders.
const MOST: usize = 8;

/// Lists the holders of a lock, other than this session.
pub(crate) fn holders(lock: &LockId) -> String {
    select(lock, "")
}

/// Lists those holders that exclude the lock.
pub(crate) fn excluding(lock: &LockId) -> String {
    let condition = match lock.mode() {
        Mode::Exclusive => "",
        Mode::Shared => " AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock'",
    };
    select(lock, condition)
}

fn select(lock: &LockId, condition: &str) -> String {
    let columns = columns(lock).each_ref().map(|column| array_literal(column));
    select_from(&columns, condition)
}

/// The keys of a lock as `pg_locks` shows them: `classid`, `objid`, `objsubid`.
fn columns(lock: &LockId) -> [Vec<i64>; 3] {
    let columns = |part: fn((u32, u32, i16)) -> i64| {
        let keys = lock.keys().iter();
        keys.map(|key| part(Key::to_pg_locks(*key))).collect()
    };
    [
        columns(|(classid, _, _)| classid.into()),
        columns(|(_, objid, _)| objid.into()),
        columns(|(_, _, objsubid)| objsubid.into()),
    ]
}

/// Lists the holders of a lock, other than this session; one statement, and its parameters of type
/// `bigint[]`. Its text is constant, so that it can be prepared.
#[cfg(feature = "sea-orm")]
pub(crate) fn prepared_holders(lock: &LockId) -> (String, [Vec<i64>; 3]) {
    let parameters = [1, 2, 3].map(|number| format!("${number}::pg_catalog.int8[]"));
    (select_from(&parameters, ""), columns(lock))
}

fn select_from([classid, objid, objsubid]: &[String; 3], condition: &str) -> String {
    format!(
        "SELECT DISTINCT COALESCE(l.pid,0) AS pid,CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application_name,\
         pg_catalog.date_part('epoch',pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) a.xact_start) AS transaction_age,\
         {is_this_process} AS is_this_process \
         FROM ROWS FROM(pg_catalog.unnest({classid}::pg_catalog.oid[]),pg_catalog.unnest({objid}::pg_catalog.oid[]),\
         pg_catalog.unnest({objsubid}::pg_catalog.int2[])) AS k(classid,objid,objsubid) \
         JOIN pg_catalog.pg_locks AS l ON l.classid OPERATOR(pg_catalog.=) k.classid \
         AND l.objid OPERATOR(pg_catalog.=) k.objid AND l.objsubid OPERATOR(pg_catalog.=) k.objsubid \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
         AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND COALESCE(l.pid,0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid(){condition} \
         ORDER BY pid LIMIT {MOST}",
        is_this_process = is_this_process("a.query"),
    )
}
