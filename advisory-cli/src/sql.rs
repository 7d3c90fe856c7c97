//! The statements that the command sends itself; the library sends all others.
//!
//! Each is one message of the simple protocol, which works behind a pooler, and qualifies every
//! name with its schema.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor as _, FromRow};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The server, the role and the database of a connection.
#[derive(FromRow)]
pub(crate) struct Identity {
    /// `server_version`, as in `15.18 (Debian 15.18-0)`.
    pub(crate) version: String,
    /// `server_version_num`.
    pub(crate) version_number: i32,
    pub(crate) is_standby: bool,
    /// Quoted for use in a statement.
    pub(crate) role: String,
    /// Quoted for use in a statement.
    pub(crate) database: String,
    /// Whether the connection is a Unix-domain socket.
    pub(crate) is_local: bool,
}

pub(crate) async fn identity(conn: &mut PgConnection) -> Result<Identity> {
    fetch(
        conn,
        "SELECT pg_catalog.current_setting('server_version') AS version,
         pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_number,
         pg_catalog.pg_is_in_recovery() AS is_standby,
         pg_catalog.quote_ident(SESSION_USER) AS role,
         pg_catalog.quote_ident(pg_catalog.current_database()) AS database,
         pg_catalog.inet_client_addr() IS NULL AS is_local",
    )
    .await
}

/// The oid and the name of the connection's database.
pub(crate) async fn current_database(conn: &mut PgConnection) -> Result<(i64, String)> {
    let message = "SELECT d.oid::pg_catalog.int8,d.datname::pg_catalog.text
         FROM pg_catalog.pg_database AS d
         WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";
    fetch(conn, message).await
}

/// The name of the database with this oid.
pub(crate) async fn database_name(conn: &mut PgConnection, oid: u32) -> Result<Option<String>> {
    let message = format!(
        "SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database AS d
         WHERE d.oid OPERATOR(pg_catalog.=) {oid}"
    );
    let message = sqlx::raw_sql(sqlx::AssertSqlSafe(message));
    let row = conn.fetch_optional(message).await?;
    row.map(|row| <(String,)>::from_row(&row).map(|(name,)| name))
        .transpose()
}

/// The process id of the connection's session, and the name of its database.
pub(crate) async fn own_session(conn: &mut PgConnection) -> Result<(i32, String)> {
    let message = "SELECT pg_catalog.pg_backend_pid(),
         pg_catalog.current_database()::pg_catalog.text";
    fetch(conn, message).await
}

/// The role that the connection has logged in as, and the name of its database. Behind a pooler,
/// they are not always those of the connection options.
pub(crate) async fn own_names(conn: &mut PgConnection) -> Result<(String, String)> {
    let message = "SELECT SESSION_USER::pg_catalog.text,
         pg_catalog.current_database()::pg_catalog.text";
    fetch(conn, message).await
}

/// A session that another one waits for.
#[derive(FromRow)]
pub(crate) struct Blocker {
    /// 0 if it is a prepared transaction.
    pub(crate) pid: i32,
    pub(crate) application_name: Option<String>,
    pub(crate) state: Option<String>,
}

/// The sessions that a session waits for, because they hold a lock of any kind.
pub(crate) async fn blockers(conn: &mut PgConnection, pid: i32) -> Result<Vec<Blocker>> {
    let message = format!(
        "SELECT b.pid,a.application_name,a.state
         FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids({pid})) AS b(pid)
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) b.pid"
    );
    let message = sqlx::raw_sql(sqlx::AssertSqlSafe(message));
    let rows = conn.fetch_all(message).await?;
    rows.iter().map(Blocker::from_row).collect()
}

/// An advisory lock whose `objsubid` is neither that of a `bigint` nor that of two `integer`s.
#[derive(FromRow)]
pub(crate) struct ForeignLock {
    /// Its name, or its oid if the name has characters that this database may not have.
    pub(crate) database: String,
    /// Whether it is the database of this connection.
    pub(crate) is_here: bool,
    pub(crate) classid: i64,
    pub(crate) objid: i64,
    pub(crate) objsubid: i16,
    pub(crate) mode: String,
    pub(crate) granted: bool,
    /// 0 if a prepared transaction holds the lock.
    pub(crate) pid: i32,
    pub(crate) application_name: Option<String>,
}

/// The locks of extensions, of every database.
pub(crate) async fn foreign_locks(conn: &mut PgConnection) -> Result<Vec<ForeignLock>> {
    let message = "SELECT CASE WHEN d.datname::pg_catalog.text OPERATOR(pg_catalog.~) '^[ -~]*$'
           THEN d.datname::pg_catalog.text ELSE pg_catalog.concat('oid ',d.oid) END AS database,
         d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AS is_here,
         l.classid::pg_catalog.int8,l.objid::pg_catalog.int8,l.objsubid,
         l.mode,l.granted,COALESCE(l.pid,0) AS pid,a.application_name
         FROM pg_catalog.pg_locks AS l
         JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) l.database
         LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid
         WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'
           AND l.objsubid OPERATOR(pg_catalog.<>) 1 AND l.objsubid OPERATOR(pg_catalog.<>) 2
         ORDER BY database,l.objsubid,l.classid,l.objid,l.granted DESC,pid";
    let rows = conn.fetch_all(sqlx::raw_sql(message)).await?;
    rows.iter().map(ForeignLock::from_row).collect()
}

/// What a server accepts.
#[derive(FromRow)]
pub(crate) struct ServerState {
    pub(crate) is_standby: bool,
    /// Whether a transaction is read-only unless it says otherwise, as always on a standby.
    pub(crate) is_read_only: bool,
}

pub(crate) async fn server_state(conn: &mut PgConnection) -> Result<ServerState> {
    fetch(
        conn,
        "SELECT pg_catalog.pg_is_in_recovery() AS is_standby,
         pg_catalog.pg_is_in_recovery() OR
           pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool AS is_read_only",
    )
    .await
}

/// The value of a setting in this session.
#[derive(FromRow)]
pub(crate) struct Setting {
    name: String,
    /// As PostgreSQL prints it: `30s`.
    pub(crate) text: String,
    /// In its base unit: `30000`.
    pub(crate) value: String,
    /// Where it comes from: `configuration file`, `user`, `database` …
    pub(crate) source: String,
}

/// Settings by name. A setting that the server does not know is absent.
pub(crate) type Settings = BTreeMap<String, Setting>;

/// Reads the settings that affect locks.
pub(crate) async fn settings(conn: &mut PgConnection) -> Result<Settings> {
    let message =
        "SELECT s.name,s.setting AS value,pg_catalog.current_setting(s.name) AS text,s.source
         FROM pg_catalog.pg_settings AS s
         WHERE s.name OPERATOR(pg_catalog.=) ANY(ARRAY['statement_timeout','lock_timeout',
         'idle_in_transaction_session_timeout','idle_session_timeout','transaction_timeout',
         'tcp_user_timeout','tcp_keepalives_idle','tcp_keepalives_interval','tcp_keepalives_count',
         'track_activities','default_transaction_isolation','deadlock_timeout','log_lock_waits'])";
    let rows = conn.fetch_all(sqlx::raw_sql(message)).await?;
    let setting = |row| Setting::from_row(row).map(|setting| (setting.name.clone(), setting));
    rows.iter().map(setting).collect()
}

/// The entries of the shared lock table: how many are used, and its guaranteed capacity.
pub(crate) async fn lock_table(conn: &mut PgConnection) -> Result<(i64, i64)> {
    // A fast-path lock has no entry, and the holders of a shared lock have one entry together.
    fetch(
        conn,
        "SELECT
         (SELECT pg_catalog.count(*) FROM
           (SELECT DISTINCT l.locktype,l.database,l.relation,l.page,l.tuple,l.virtualxid,
             l.transactionid::pg_catalog.text,l.classid,l.objid,l.objsubid
            FROM pg_catalog.pg_locks AS l WHERE NOT l.fastpath) AS k) AS used,
         pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int8
           OPERATOR(pg_catalog.*)
           (pg_catalog.current_setting('max_connections')::pg_catalog.int8
            OPERATOR(pg_catalog.+)
            pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int8) AS capacity",
    )
    .await
}

/// What the role may do with the sessions of other roles.
#[derive(FromRow)]
pub(crate) struct Rights {
    pub(crate) is_superuser: bool,
    pub(crate) sees_others: bool,
    pub(crate) signals_others: bool,
}

pub(crate) async fn rights(conn: &mut PgConnection) -> Result<Rights> {
    fetch(
        conn,
        "SELECT r.rolsuper AS is_superuser,
         pg_catalog.pg_has_role(r.oid,'pg_read_all_stats','USAGE') AS sees_others,
         pg_catalog.pg_has_role(r.oid,'pg_signal_backend','USAGE') AS signals_others
         FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER",
    )
    .await
}

/// The server's clock, in seconds since 1970.
pub(crate) async fn now(conn: &mut PgConnection) -> Result<f64> {
    let message = "SELECT pg_catalog.date_part('epoch',pg_catalog.clock_timestamp())";
    fetch(conn, message).await.map(|(now,)| now)
}

/// When the server started this session, by its own clock.
pub(crate) async fn session_start(conn: &mut PgConnection) -> Result<f64> {
    let message = "SELECT pg_catalog.date_part('epoch',a.backend_start)
         FROM pg_catalog.pg_stat_activity AS a
         WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";
    fetch(conn, message).await.map(|(start,)| start)
}

/// The current `client_connection_check_interval`; `0` if the server does not check.
pub(crate) async fn check_interval(conn: &mut PgConnection) -> Result<String> {
    let message = "SELECT pg_catalog.current_setting('client_connection_check_interval')";
    fetch(conn, message).await.map(|(interval,)| interval)
}

/// Sends a statement that does nothing.
pub(crate) async fn round_trip(conn: &mut PgConnection) -> Result<()> {
    conn.execute(sqlx::raw_sql("SELECT 1")).await.map(drop)
}

/// The SQLSTATE of a login that the server does not accept: there is no such role, or `pg_hba.conf`
/// has no entry for such a connection. A wrong password has another one.
const INVALID_AUTHORIZATION: &str = "28000";

/// Whether a server may accept the same login on a connection of another kind, with or without TLS.
pub(crate) fn is_refused_login(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    let code = error.and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == INVALID_AUTHORIZATION)
}

async fn fetch<T: for<'r> FromRow<'r, PgRow>>(
    conn: &mut PgConnection,
    message: &'static str,
) -> Result<T> {
    T::from_row(&conn.fetch_one(sqlx::raw_sql(message)).await?)
}
