//! PostgreSQL's advisory lock functions, one checked statement each.
//!
//! `query!` checks each statement when the library is made. It is sent with the key in place of its parameters, as one message of
//! the simple protocol: behind a pooler that lends a session out for a transaction, a prepared statement can turn out to be
//! somebody else's of the same name, and lock another key.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Execute as _, Executor as _, Row as _, SqlStr};

use super::server;
use super::xact::ON_PRIMARY;
use crate::Key;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// What a function that locks has answered.
pub(crate) struct Answer {
    /// False if the lock was not to be had.
    pub(crate) acquired: bool,
    /// Who says so: see `server!`.
    pub(crate) server: String,
}

/// The text of a checked statement, in both key spaces.
macro_rules! text {
    ($key:expr, $bigint:literal, $int_pair:literal) => {
        match $key {
            Key::BigInt(key) => sqlx::query!($bigint, key).sql(),
            Key::IntPair(a, b) => sqlx::query!($int_pair, a, b).sql(),
        }
    };
}

/// A function that waits and returns `void`; `None` on a standby.
macro_rules! lock {
    ($name:ident, $bigint:literal, $int_pair:literal) => {
        pub(crate) async fn $name(conn: &mut PgConnection, key: Key) -> Result<Option<Answer>> {
            let answered = ask_to_lock(conn, &text!(key, $bigint, $int_pair), key).await?;
            let answer = |row: PgRow| {
                Ok(Answer {
                    acquired: true,
                    server: server(&row, 1)?,
                })
            };
            answered.map(answer).transpose()
        }
    };
}

/// A function that returns whether it has locked; `None` on a standby.
macro_rules! try_lock {
    ($name:ident, $bigint:literal, $int_pair:literal) => {
        pub(crate) async fn $name(conn: &mut PgConnection, key: Key) -> Result<Option<Answer>> {
            let answered = ask_to_lock(conn, &text!(key, $bigint, $int_pair), key).await?;
            let answer = |row: PgRow| {
                Ok(Answer {
                    acquired: row.try_get(0)?,
                    server: server(&row, 1)?,
                })
            };
            answered.map(answer).transpose()
        }
    };
}

/// A function that returns whether it has unlocked.
macro_rules! unlock {
    ($name:ident, $bigint:literal, $int_pair:literal) => {
        pub(crate) async fn $name(conn: &mut PgConnection, key: Key) -> Result<bool> {
            let statement = with_literals(&text!(key, $bigint, $int_pair), key);
            conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(statement)))
                .await?
                .try_get(0)
        }
    };
}

lock!(
    lock,
    "SELECT pg_catalog.pg_advisory_lock($1)",
    "SELECT pg_catalog.pg_advisory_lock($1, $2)"
);
lock!(
    lock_shared,
    "SELECT pg_catalog.pg_advisory_lock_shared($1)",
    "SELECT pg_catalog.pg_advisory_lock_shared($1, $2)"
);
try_lock!(
    try_lock,
    r#"SELECT pg_catalog.pg_try_advisory_lock($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_lock($1, $2) AS "acquired!""#
);
try_lock!(
    try_lock_shared,
    r#"SELECT pg_catalog.pg_try_advisory_lock_shared($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_lock_shared($1, $2) AS "acquired!""#
);
unlock!(
    unlock,
    r#"SELECT pg_catalog.pg_advisory_unlock($1) AS "released!""#,
    r#"SELECT pg_catalog.pg_advisory_unlock($1, $2) AS "released!""#
);
unlock!(
    unlock_shared,
    r#"SELECT pg_catalog.pg_advisory_unlock_shared($1) AS "released!""#,
    r#"SELECT pg_catalog.pg_advisory_unlock_shared($1, $2) AS "released!""#
);
lock!(
    xact_lock,
    "SELECT pg_catalog.pg_advisory_xact_lock($1)",
    "SELECT pg_catalog.pg_advisory_xact_lock($1, $2)"
);
lock!(
    xact_lock_shared,
    "SELECT pg_catalog.pg_advisory_xact_lock_shared($1)",
    "SELECT pg_catalog.pg_advisory_xact_lock_shared($1, $2)"
);
try_lock!(
    try_xact_lock,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2) AS "acquired!""#
);
try_lock!(
    try_xact_lock_shared,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock_shared($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock_shared($1, $2) AS "acquired!""#
);

pub(crate) async fn unlock_all(conn: &mut PgConnection) -> Result<()> {
    let statement = sqlx::query!("SELECT pg_catalog.pg_advisory_unlock_all()").sql();
    conn.execute(sqlx::raw_sql(statement)).await?;
    Ok(())
}

async fn ask_to_lock(conn: &mut PgConnection, text: &SqlStr, key: Key) -> Result<Option<PgRow>> {
    let statement = format!(
        concat!("{},", server!(), "{}"),
        with_literals(text, key),
        ON_PRIMARY
    );
    conn.fetch_optional(sqlx::raw_sql(AssertSqlSafe(statement)))
        .await
}

fn with_literals(text: &SqlStr, key: Key) -> String {
    let text = text.as_str();
    match key {
        Key::BigInt(key) => text.replace("$1", &format!("'{key}'")),
        Key::IntPair(a, b) => text
            .replace("$1", &format!("'{a}'"))
            .replace("$2", &format!("'{b}'")),
    }
}
