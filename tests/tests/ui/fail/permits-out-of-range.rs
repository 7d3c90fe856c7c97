use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", permits = 0)]
async fn none(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits = -1)]
async fn negative(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits = 1_001)]
async fn too_many(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits = "ten")]
async fn text(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits)]
async fn nothing(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
