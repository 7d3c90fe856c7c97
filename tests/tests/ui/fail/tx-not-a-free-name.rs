use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(tx)]
async fn by_default(_pool: &PgPool, tx: u8) -> Result<u8, Error> {
    Ok(tx)
}

#[advisory(tx = id)]
async fn by_name(_pool: &PgPool, (id, _): (u8, u8)) -> Result<u8, Error> {
    Ok(id)
}

#[advisory(tx = "locked")]
async fn in_quotes(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
