use advisory_core::{Error, advisory};
use sqlx::{PgConnection, PgTransaction};

#[advisory]
async fn plain(_conn: PgConnection) -> Result<(), Error> {
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
