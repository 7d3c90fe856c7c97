//! The tables and statements.

/// The tables:
///
/// - `cell` has one number for each key.
/// - `journal` has each number once, with a fencing token if one was taken.
/// - `resource` stands for an external resource, and keeps the greatest token that it has seen.
pub(crate) const CREATE: &str = "\
    CREATE TABLE cell (key int PRIMARY KEY, n bigint NOT NULL DEFAULT 0);\
    CREATE TABLE journal (key int, n bigint, token bigint, PRIMARY KEY (key, n));\
    CREATE TABLE resource (key int PRIMARY KEY, token bigint NOT NULL DEFAULT 0)";

pub(crate) const FILL: &str = "\
    WITH keys AS (SELECT generate_series(0, $1 - 1) AS key), cells AS (INSERT INTO cell SELECT key FROM keys) \
    INSERT INTO resource SELECT key FROM keys";

/// The slots that this session holds, from 0 on, of slots as `pg_locks` has them.
pub(crate) const HELD_SLOTS: &str = "\
    SELECT (k.n - 1)::int4 FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k(classid, objid, n) \
    JOIN pg_locks AS l ON l.classid = k.classid::oid AND l.objid = k.objid::oid \
    JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database() \
    WHERE l.locktype = 'advisory' AND l.granted AND l.pid = pg_backend_pid()";

pub(crate) const READ: &str = "SELECT n FROM cell WHERE key = $1";

/// Writes the next number and its row in the journal. It is one statement, so that a disrupted
/// session does both or neither.
pub(crate) const WRITE: &str = "\
    WITH written AS (UPDATE cell SET n = $2 WHERE key = $1) INSERT INTO journal VALUES ($1, $2, $3)";

/// Writes to the resource with a token. The resource refuses a token that is not greater than the
/// greatest one.
pub(crate) const WRITE_OUTSIDE: &str =
    "UPDATE resource SET token = $2 WHERE key = $1 AND token < $2";

/// Counts the keys whose journal does not have every number up to the one in the cell.
pub(crate) const LOST: &str = "\
    SELECT count(*) FROM cell AS c WHERE n <> (SELECT count(*) FROM journal AS j WHERE j.key = c.key) \
    OR n <> (SELECT coalesce(max(j.n), 0) FROM journal AS j WHERE j.key = c.key)";

/// Counts the tokens of a key that do not grow with its numbers.
pub(crate) const UNORDERED: &str = "\
    SELECT count(*) FROM (SELECT token, lag(token) OVER (PARTITION BY key ORDER BY n) AS before \
    FROM journal WHERE token IS NOT NULL) AS tokens WHERE token <= before";

pub(crate) const WRITTEN: &str = "SELECT count(*) FROM journal";

pub(crate) const TOKENS: &str = "SELECT count(token) FROM journal";

/// Counts the locks and open transactions in this database.
pub(crate) const LEFT: &str = "\
    SELECT (SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database \
            WHERE l.locktype = 'advisory' AND d.datname = current_database()) \
         + (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
            AND state LIKE 'idle in transaction%')";
