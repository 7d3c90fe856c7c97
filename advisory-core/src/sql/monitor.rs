//! The statements of `monitor`: who holds and who waits for advisory locks, and how to end it.
//!
//! Like the functions, each is checked by `query!` and sent as one message with literals.

use sqlx::Execute as _;
use sqlx::postgres::types::Oid;

use crate::key::Key;

/// Which locks to list.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    ThisDatabase,
    AllDatabases,
    /// One key, in this database.
    Of(Key),
}

/// Lists locks, held and awaited; see `monitor::LockStatus` for the columns.
///
/// The server sends text in UTF-8, and refuses to send text that it cannot convert: in a database
/// in `SQL_ASCII` its own text, elsewhere the text of databases in other encodings. Such text is
/// sent as bytes, in hexadecimal (`is_raw`). A database in UTF-8 sends all text as it is.
pub(crate) fn locks(which: Which) -> String {
    let all = matches!(which, Which::AllDatabases);
    let columns = match which {
        Which::Of(key) => Some(key.to_pg_locks()),
        Which::ThisDatabase | Which::AllDatabases => None,
    };
    let text = sqlx::query!(
        r#"WITH k AS MATERIALIZED(SELECT k.* FROM pg_catalog.pg_locks AS k)
           SELECT l.classid::pg_catalog.int8 AS "classid!",l.objid::pg_catalog.int8 AS "objid!",l.objsubid AS "objsubid!",
           l.mode OPERATOR(pg_catalog.=) 'ShareLock' AS "is_shared!",l.granted AS "granted!",
           COALESCE(l.pid,0) AS "pid!",
           CASE WHEN l.granted THEN '{}'::pg_catalog.int4[] ELSE pg_catalog.pg_blocking_pids(l.pid) END AS "blocked_by!",
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-)
             CASE WHEN l.granted THEN COALESCE(p.prepared,a.xact_start) ELSE l.waitstart END) AS age,
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.state_change) AS state_age,
           pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start) AS session_age,
           CASE WHEN a.application_name OPERATOR(pg_catalog.<>) '' THEN a.application_name END AS application_name,
           CASE WHEN a.client_port OPERATOR(pg_catalog.=) -1 THEN 'local' ELSE pg_catalog.host(a.client_addr) END AS client_addr,
           a.state AS "state?",a.wait_event_type OPERATOR(pg_catalog.||) ': ' OPERATOR(pg_catalog.||) a.wait_event AS wait_event,
           t.is_raw AS "is_raw!",
           CASE WHEN t.is_raw THEN pg_catalog.encode(pg_catalog.replace(t.database,E'\\',E'\\\\')::pg_catalog.bytea,'hex')
             ELSE t.database END AS "database!",
           CASE WHEN t.is_raw THEN pg_catalog.encode(pg_catalog.replace(t.owner,E'\\',E'\\\\')::pg_catalog.bytea,'hex')
             ELSE t.owner END AS "user?",
           CASE WHEN t.is_raw THEN pg_catalog.encode(pg_catalog.replace(t.gid,E'\\',E'\\\\')::pg_catalog.bytea,'hex')
             ELSE t.gid END AS "gid?",
           CASE WHEN t.is_raw THEN pg_catalog.encode(pg_catalog.replace(t.query,E'\\',E'\\\\')::pg_catalog.bytea,'hex')
             ELSE t.query END AS "query?"
           FROM k AS l JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database
           LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
           LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON l.pid IS NULL AND EXISTS(SELECT FROM k AS x
             WHERE x.pid IS NULL AND x.locktype OPERATOR(pg_catalog.=) 'transactionid'
             AND x.transactionid OPERATOR(pg_catalog.=) p.transaction
             AND x.virtualtransaction OPERATOR(pg_catalog.=) l.virtualtransaction)
           CROSS JOIN LATERAL(SELECT d.datname::pg_catalog.text AS database,p.gid,
             COALESCE(p.owner,a.usename)::pg_catalog.text AS owner,
             CASE WHEN a.query OPERATOR(pg_catalog.<>) '<insufficient privilege>' THEN a.query END AS query,
             e.name OPERATOR(pg_catalog.<>) 'UTF8' AND (e.name OPERATOR(pg_catalog.=) 'SQL_ASCII'
               OR d.encoding OPERATOR(pg_catalog.<>) pg_catalog.pg_char_to_encoding(e.name)) AS is_raw
             FROM pg_catalog.getdatabaseencoding() AS e(name)) AS t
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

/// A function that signals a backend that holds or waits for an advisory lock.
macro_rules! signal {
    ($name:ident, $function:literal) => {
        /// Signals a backend. One row, whether it was signalled; none if there is no such backend.
        pub(crate) fn $name(pid: i32) -> String {
            // The argument is a bare literal: pgpool-II looks for exactly that, and takes the end
            // of a backend for a failure of the primary otherwise.
            let text = sqlx::query_scalar!(
                "SELECT pg_catalog." + $function + r#"($1) AS "signalled!" WHERE EXISTS(SELECT FROM pg_catalog.pg_locks AS l
           WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.pid OPERATOR(pg_catalog.=) $1)"#,
                pid
            );
            text.sql().as_str().replace("$1", &pid.to_string())
        }
    };
}

signal!(cancel, "pg_cancel_backend");
signal!(terminate, "pg_terminate_backend");
