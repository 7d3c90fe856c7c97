use advisory_core::{Error, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgTransaction, Postgres};

#[advisory]
async fn plain(_conn: PgConnection) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn pooled(_conn: PoolConnection<Postgres>) -> Result<(), Error> {
    Ok(())
}

#[advisory(on = conn)]
async fn shared(conn: &PgConnection) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn transaction(_tx: &PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

fn main() {}
