//! The lock joins the caller's transaction, however the parameter is written.

use advisory_core::{Error, advisory};
use sqlx::{PgTransaction, Postgres, Transaction};

#[advisory(key = "sync")]
async fn borrowed(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    inner(tx).await
}

#[advisory]
async fn inner(tx: &mut Transaction<'_, Postgres>) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[advisory]
async fn owned(mut tx: PgTransaction<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    tx.commit().await
}

#[advisory]
async fn only_committed(tx: sqlx::PgTransaction<'static>) -> Result<(), sqlx::Error> {
    tx.commit().await
}

#[advisory]
async fn nameless(_: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn nameless_and_owned(_: PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn unused(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn marked_as_unused(_tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn handed_back<'a, 'c>(
    tx: &'a mut PgTransaction<'c>,
) -> Result<&'a mut PgTransaction<'c>, Error> {
    Ok(tx)
}

#[advisory(on = tx)]
async fn replaced<'c>(
    mut tx: &mut PgTransaction<'c>,
    other: &mut PgTransaction<'c>,
    takes_other: bool,
) -> Result<(), Error> {
    if takes_other {
        tx = other;
    }
    inner(tx).await
}

#[advisory(on = tx)]
async fn chosen(tx: &mut PgTransaction<'_>, pool: &sqlx::PgPool) -> Result<bool, Error> {
    inner(tx).await?;
    Ok(pool.is_closed())
}
