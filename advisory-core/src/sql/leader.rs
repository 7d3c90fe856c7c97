//! Who leads, as the server knows it.

use super::origin::is_of_leader;
use super::{BACKEND_START, QUERY_START};
use crate::key::Key;

/// The session that holds a key exclusively, in this database; at most one row.
///
/// Columns: a text that is another one for another session, one that is another one for another
/// term (null if the server does not know, hides it, or the term has just begun), the process id,
/// how long it leads (null if the server does not know, or hides it), the age of the session, its
/// `application_name`, role and address.
pub(crate) fn leader(key: Key) -> String {
    let (classid, objid, objsubid) = key.to_pg_locks();
    let leads = is_of_leader("a.query");
    format!(
        "SELECT pg_catalog.concat(l.pid,' ',{BACKEND_START}) AS session,\
         CASE WHEN {leads} THEN {QUERY_START}::pg_catalog.text END AS term,\
         COALESCE(l.pid,0) AS pid,\
         CASE WHEN {leads} THEN pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.query_start) END AS term_age,\
         pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start) AS session_age,\
         CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application_name,\
         a.usename::pg_catalog.text AS \"user\",\
         CASE WHEN a.client_addr IS NOT NULL THEN pg_catalog.host(a.client_addr) \
         WHEN a.client_port OPERATOR(pg_catalog.=) -1 THEN 'local' END AS client_addr \
         FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database \
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' \
         AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
         AND l.classid OPERATOR(pg_catalog.=) '{classid}'::pg_catalog.oid \
         AND l.objid OPERATOR(pg_catalog.=) '{objid}'::pg_catalog.oid \
         AND l.objsubid OPERATOR(pg_catalog.=) '{objsubid}'::pg_catalog.int2 LIMIT 1"
    )
}
