use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = "2s")]
async fn text(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = seconds)]
async fn number(_pool: &PgPool, seconds: u64) -> Result<u64, Error> {
    Ok(seconds)
}

fn main() {}
