//! Who holds a lock: the holders, for an error, and what this session holds, to unlock it.

use super::LOCKS;
use super::call::{Function, array_literal};
use super::origin::is_this_process;
use crate::key::Key;
use crate::lock::{LockId, Mode};

/// An error names at most this many holders.
const MOST: usize = 8;

/// Lists the holders of a lock, other than this session.
pub(crate) fn holders(lock: &LockId) -> String {
    select(lock, "")
}

/// Lists those holders that exclude the lock. Of a lock with several permits, only whether there
/// are enough of them.
pub(crate) fn excluding(lock: &LockId) -> String {
    if lock.semaphore().is_some() {
        return every_slot(lock);
    }
    let condition = match lock.mode() {
        Mode::Exclusive => "",
        Mode::Shared => " AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock'",
    };
    select(lock, condition)
}

/// Unlocks those of these keys that this session holds, once. To unlock another one would be a
/// warning, also in the server's log.
pub(super) fn unlock_held(mode: Mode, keys: &[Key]) -> String {
    let (rows, unlock) = (rows(keys), Function::Unlock.name(mode));
    let name = match mode {
        Mode::Exclusive => "ExclusiveLock",
        Mode::Shared => "ShareLock",
    };
    format!(
        "SELECT CASE l.objsubid WHEN 1 THEN {unlock}((l.classid::pg_catalog.int8 OPERATOR(pg_catalog.<<) 32) \
         OPERATOR(pg_catalog.|) l.objid::pg_catalog.int8) \
         ELSE {unlock}(l.classid::pg_catalog.int4,l.objid::pg_catalog.int4) END \
         FROM {rows} JOIN {LOCKS} AS l ON true \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database WHERE {IS_HELD} \
         AND l.mode OPERATOR(pg_catalog.=) '{name}' \
         AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
    )
}

/// Keys as rows `k(classid,objid,objsubid)`, as `pg_locks` has them.
fn rows(keys: &[Key]) -> String {
    rows_of(&columns(keys).each_ref().map(|column| array_literal(column)))
}

fn rows_of([classid, objid, objsubid]: &[String; 3]) -> String {
    format!(
        "ROWS FROM(pg_catalog.unnest({classid}::pg_catalog.oid[]),pg_catalog.unnest({objid}::pg_catalog.oid[]),\
         pg_catalog.unnest({objsubid}::pg_catalog.int2[])) AS k(classid,objid,objsubid)"
    )
}

/// Keys as `pg_locks` shows them: `classid`, `objid`, `objsubid`.
pub(super) fn columns(keys: &[Key]) -> [Vec<i64>; 3] {
    let column = |part: fn((u32, u32, i16)) -> i64| {
        let keys = keys.iter();
        keys.map(|key| part(key.to_pg_locks())).collect()
    };
    [
        column(|(classid, _, _)| classid.into()),
        column(|(_, objid, _)| objid.into()),
        column(|(_, _, objsubid)| objsubid.into()),
    ]
}

/// That a row `l` of `pg_locks` is an advisory lock that is held on the key `k` of this database
/// `d`; a condition.
const IS_HELD: &str = "l.classid OPERATOR(pg_catalog.=) k.classid AND l.objid OPERATOR(pg_catalog.=) k.objid \
     AND l.objsubid OPERATOR(pg_catalog.=) k.objsubid AND l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted \
     AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// One row if others hold every slot of a lock, otherwise none.
fn every_slot(lock: &LockId) -> String {
    let (rows, permits) = (rows(&lock.held_keys()), lock.permits());
    format!(
        "SELECT FROM (SELECT DISTINCT l.classid,l.objid FROM {rows} JOIN pg_catalog.pg_locks AS l ON true \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database WHERE {IS_HELD} \
         AND COALESCE(l.pid,0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()) AS held \
         HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) {permits}"
    )
}

fn select(lock: &LockId, condition: &str) -> String {
    select_from(&rows(&lock.held_keys()), condition)
}

/// Lists the holders of a lock, other than this session; one statement, and its parameters of type
/// `bigint[]`. Its text is constant, so that it can be prepared.
#[cfg(feature = "sea-orm")]
pub(crate) fn prepared_holders(lock: &LockId) -> (String, [Vec<i64>; 3]) {
    let parameters = [1, 2, 3].map(|number| format!("${number}::pg_catalog.int8[]"));
    (
        select_from(&rows_of(&parameters), ""),
        columns(&lock.held_keys()),
    )
}

fn select_from(rows: &str, condition: &str) -> String {
    format!(
        "SELECT DISTINCT COALESCE(l.pid,0) AS pid,CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application_name,\
         pg_catalog.date_part('epoch',pg_catalog.statement_timestamp() OPERATOR(pg_catalog.-) a.xact_start) AS transaction_age,\
         {is_this_process} AS is_this_process \
         FROM {rows} JOIN pg_catalog.pg_locks AS l ON true \
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         WHERE {IS_HELD} AND COALESCE(l.pid,0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid(){condition} \
         ORDER BY pid LIMIT {MOST}",
        is_this_process = is_this_process("a.query"),
    )
}
