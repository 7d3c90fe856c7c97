use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(tx)]
async fn by_default(_pool: &PgPool, tx: u8) -> Result<u8, Error> {
    Ok(tx)
}

fn main() {}
