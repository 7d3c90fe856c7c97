//! PostgreSQL's advisory lock functions, one checked statement each.

use sqlx::postgres::PgConnection;

use crate::Key;

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A function that returns `void`, in both key spaces.
macro_rules! void {
    ($name:ident, $bigint:literal, $int_pair:literal) => {
        pub(crate) async fn $name(conn: &mut PgConnection, key: Key) -> Result<()> {
            match key {
                Key::BigInt(key) => sqlx::query!($bigint, key).execute(conn).await?,
                Key::IntPair(a, b) => sqlx::query!($int_pair, a, b).execute(conn).await?,
            };
            Ok(())
        }
    };
}

/// A function that returns `boolean`, in both key spaces.
macro_rules! boolean {
    ($name:ident, $bigint:literal, $int_pair:literal) => {
        pub(crate) async fn $name(conn: &mut PgConnection, key: Key) -> Result<bool> {
            match key {
                Key::BigInt(key) => sqlx::query_scalar!($bigint, key).fetch_one(conn).await,
                Key::IntPair(a, b) => sqlx::query_scalar!($int_pair, a, b).fetch_one(conn).await,
            }
        }
    };
}

void!(
    lock,
    "SELECT pg_catalog.pg_advisory_lock($1)",
    "SELECT pg_catalog.pg_advisory_lock($1, $2)"
);
void!(
    lock_shared,
    "SELECT pg_catalog.pg_advisory_lock_shared($1)",
    "SELECT pg_catalog.pg_advisory_lock_shared($1, $2)"
);
boolean!(
    try_lock,
    r#"SELECT pg_catalog.pg_try_advisory_lock($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_lock($1, $2) AS "acquired!""#
);
boolean!(
    try_lock_shared,
    r#"SELECT pg_catalog.pg_try_advisory_lock_shared($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_lock_shared($1, $2) AS "acquired!""#
);
boolean!(
    unlock,
    r#"SELECT pg_catalog.pg_advisory_unlock($1) AS "released!""#,
    r#"SELECT pg_catalog.pg_advisory_unlock($1, $2) AS "released!""#
);
boolean!(
    unlock_shared,
    r#"SELECT pg_catalog.pg_advisory_unlock_shared($1) AS "released!""#,
    r#"SELECT pg_catalog.pg_advisory_unlock_shared($1, $2) AS "released!""#
);
void!(
    xact_lock,
    "SELECT pg_catalog.pg_advisory_xact_lock($1)",
    "SELECT pg_catalog.pg_advisory_xact_lock($1, $2)"
);
void!(
    xact_lock_shared,
    "SELECT pg_catalog.pg_advisory_xact_lock_shared($1)",
    "SELECT pg_catalog.pg_advisory_xact_lock_shared($1, $2)"
);
boolean!(
    try_xact_lock,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2) AS "acquired!""#
);
boolean!(
    try_xact_lock_shared,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock_shared($1) AS "acquired!""#,
    r#"SELECT pg_catalog.pg_try_advisory_xact_lock_shared($1, $2) AS "acquired!""#
);

pub(crate) async fn unlock_all(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("SELECT pg_catalog.pg_advisory_unlock_all()")
        .execute(conn)
        .await?;
    Ok(())
}
