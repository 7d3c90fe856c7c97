//! The statements that the command sends itself; the library sends all others.
//!
//! Each is one message of the simple protocol, which works behind a pooler, and qualifies every
//! name with its schema.

use std::collections::BTreeMap;

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor as _, Row as _};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// The server, the role and the database of a connection.
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
    let row = fetch_row(
        conn,
        "SELECT pg_catalog.current_setting('server_version') AS version,
         pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_number,
         pg_catalog.pg_is_in_recovery() AS is_standby,
         pg_catalog.quote_ident(SESSION_USER) AS role,
         pg_catalog.quote_ident(pg_catalog.current_database()) AS database,
         pg_catalog.inet_client_addr() IS NULL AS is_local",
    )
    .await?;
    Ok(Identity {
        version: row.try_get("version")?,
        version_number: row.try_get("version_number")?,
        is_standby: row.try_get("is_standby")?,
        role: row.try_get("role")?,
        database: row.try_get("database")?,
        is_local: row.try_get("is_local")?,
    })
}

/// The value of a setting in this session.
pub(crate) struct Setting {
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
    let message = "SELECT s.name,s.setting,pg_catalog.current_setting(s.name) AS text,s.source
         FROM pg_catalog.pg_settings AS s
         WHERE s.name OPERATOR(pg_catalog.=) ANY(ARRAY['statement_timeout','lock_timeout',
         'idle_in_transaction_session_timeout','idle_session_timeout','transaction_timeout',
         'tcp_user_timeout','tcp_keepalives_idle','tcp_keepalives_interval','tcp_keepalives_count',
         'track_activities','default_transaction_isolation','deadlock_timeout','log_lock_waits'])";
    let rows = conn.fetch_all(sqlx::raw_sql(message)).await?;
    let setting = |row: &PgRow| {
        let setting = Setting {
            text: row.try_get("text")?,
            value: row.try_get("setting")?,
            source: row.try_get("source")?,
        };
        Ok((row.try_get("name")?, setting))
    };
    rows.iter().map(setting).collect()
}

/// The entries of the shared lock table: how many are used, and its guaranteed capacity.
pub(crate) async fn lock_table(conn: &mut PgConnection) -> Result<(i64, i64)> {
    // A fast-path lock has no entry, and the holders of a shared lock have one entry together.
    let row = fetch_row(
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
    .await?;
    Ok((row.try_get("used")?, row.try_get("capacity")?))
}

/// What the role may do with the sessions of other roles.
pub(crate) struct Rights {
    pub(crate) is_superuser: bool,
    pub(crate) sees_others: bool,
    pub(crate) signals_others: bool,
}

pub(crate) async fn rights(conn: &mut PgConnection) -> Result<Rights> {
    let row = fetch_row(
        conn,
        "SELECT r.rolsuper,pg_catalog.pg_has_role(r.oid,'pg_read_all_stats','USAGE') AS sees_others,
         pg_catalog.pg_has_role(r.oid,'pg_signal_backend','USAGE') AS signals_others
         FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) CURRENT_USER",
    )
    .await?;
    Ok(Rights {
        is_superuser: row.try_get("rolsuper")?,
        sees_others: row.try_get("sees_others")?,
        signals_others: row.try_get("signals_others")?,
    })
}

/// The server's clock, in seconds since 1970.
pub(crate) async fn now(conn: &mut PgConnection) -> Result<f64> {
    let row = fetch_row(
        conn,
        "SELECT pg_catalog.date_part('epoch',pg_catalog.clock_timestamp())",
    )
    .await?;
    row.try_get(0)
}

/// When the server started this session, by its own clock.
pub(crate) async fn session_start(conn: &mut PgConnection) -> Result<f64> {
    let row = fetch_row(
        conn,
        "SELECT pg_catalog.date_part('epoch',a.backend_start) FROM pg_catalog.pg_stat_activity AS a
         WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()",
    )
    .await?;
    row.try_get(0)
}

/// The current `client_connection_check_interval`; `0` if the server does not check.
pub(crate) async fn check_interval(conn: &mut PgConnection) -> Result<String> {
    let row = fetch_row(
        conn,
        "SELECT pg_catalog.current_setting('client_connection_check_interval')",
    )
    .await?;
    row.try_get(0)
}

/// Sends a statement that does nothing.
pub(crate) async fn round_trip(conn: &mut PgConnection) -> Result<()> {
    conn.execute(sqlx::raw_sql("SELECT 1")).await.map(drop)
}

async fn fetch_row(conn: &mut PgConnection, message: &'static str) -> Result<PgRow> {
    conn.fetch_one(sqlx::raw_sql(message)).await
}
