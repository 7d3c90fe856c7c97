//! A skipped function returns the value that its type has for it.

use std::time::Duration;

use advisory_core::{Error, Skipped, advisory};
use sqlx::{PgConnection, PgPool, PgTransaction};

enum Report {
    Done(u64),
    AlreadyRunning,
}

impl Skipped for Report {
    fn skipped() -> Self {
        Self::AlreadyRunning
    }
}

#[advisory(timeout = 0, side_effect = Skip)]
async fn nothing(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[advisory(timeout = 0.5, side_effect = Skip)]
async fn option(tx: &mut PgTransaction<'_>) -> Result<Option<String>, Error> {
    Ok(Some(String::new()))
}

#[advisory(timeout = limit, side_effect = Skip)]
async fn opaque(
    pool: &PgPool,
    limit: Duration,
) -> Result<Option<impl Iterator<Item = u8> + use<>>, Error> {
    Ok(Some([1].into_iter()))
}

#[advisory(timeout = 0, side_effect = Skip)]
async fn report(
    conn: &mut PgConnection,
) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    let done = sqlx::query("SELECT 1").execute(conn).await?;
    Ok(Report::Done(done.rows_affected()))
}
