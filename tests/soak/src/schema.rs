//! The tables and statements.

/// The tables:
///
/// - `cell` has one number for each key.
/// - `journal` has each number once, with a fencing token if one was taken.
/// - `resource` stands for an external resource, and keeps the greatest token that it has seen.
/// - `counter` has a number for each key of a workload that writes beside its lock, and the
///   greatest token that was shown to it. `change` has a row for each change of it.
pub(crate) const CREATE: &str = "\
    CREATE TABLE cell (key int PRIMARY KEY, n bigint NOT NULL DEFAULT 0);\
    CREATE TABLE journal (key int, n bigint, token bigint, PRIMARY KEY (key, n));\
    CREATE TABLE resource (key int PRIMARY KEY, token bigint NOT NULL DEFAULT 0);\
    CREATE TABLE counter (key int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, token bigint NOT NULL DEFAULT 0);\
    CREATE TABLE change (at bigserial PRIMARY KEY, key int NOT NULL, n bigint NOT NULL, token bigint)";

pub(crate) const FILL: &str = "\
    WITH keys AS (SELECT generate_series(0, $1 - 1) AS key), cells AS (INSERT INTO cell SELECT key FROM keys), \
    counters AS (INSERT INTO counter SELECT key FROM keys) \
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

pub(crate) const READ_NUMBER: &str = "SELECT n FROM counter WHERE key = $1";

pub(crate) const WRITE_NUMBER: &str = "\
    WITH written AS (UPDATE counter SET n = $2 WHERE key = $1) INSERT INTO change (key, n) VALUES ($1, $2)";

/// Shows a token, and reads the number. No row if a greater token was shown before.
pub(crate) const READ_FENCED: &str =
    "UPDATE counter SET token = $2 WHERE key = $1 AND token <= $2 RETURNING n";

/// Writes the number if no greater token was shown since.
pub(crate) const WRITE_FENCED: &str = "\
    WITH written AS (UPDATE counter SET n = $2 WHERE key = $1 AND token = $3 RETURNING key) \
    INSERT INTO change (key, n, token) SELECT key, $2, $3 FROM written";

/// The changes of each key: how many there are, how many of them wrote a number that another one
/// had written before, so that one of both was lost, and how many came after a greater token.
pub(crate) const CHANGES: &str = "\
    SELECT key, count(*), count(*) - count(DISTINCT n), count(*) FILTER (WHERE token < greatest) FROM \
    (SELECT key, n, token, max(token) OVER (PARTITION BY key ORDER BY at) AS greatest FROM change) AS c GROUP BY key";

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
