//! A connection is seen through the lock's scope, under its own name and type.

use advisory_core::{Error, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, Postgres};

#[advisory]
async fn plain(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut *conn).await?;
    sqlx::query("SELECT 2").execute(conn).await?;
    Ok(())
}

#[advisory]
async fn pooled(conn: &mut PoolConnection<Postgres>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(&mut **conn).await?;
    plain(conn).await?;
    Ok(())
}

#[advisory(key = "sync", side_effect = Skip, timeout = 0)]
async fn nested(conn: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    let tx = conn.begin().await?;
    tx.commit().await
}

#[advisory]
async fn nameless(_: &mut PgConnection) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn unused(conn: &mut PgConnection) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn marked_as_unused(_conn: &mut PgConnection) -> Result<(), Error> {
    Ok(())
}

#[advisory(on = conn)]
async fn replaced<'c>(
    mut conn: &'c mut PgConnection,
    other: &'c mut PgConnection,
    takes_other: bool,
) -> Result<(), Error> {
    if takes_other {
        conn = other;
    }
    plain(conn).await
}

#[advisory(on = &mut *conn)]
async fn chosen(conn: &mut PgConnection, pool: &sqlx::PgPool) -> Result<bool, Error> {
    plain(conn).await?;
    Ok(pool.is_closed())
}
