use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "")]
async fn one(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = [])]
async fn none(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
