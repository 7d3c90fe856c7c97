use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", permits = 0)]
async fn none(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits)]
async fn nothing(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
