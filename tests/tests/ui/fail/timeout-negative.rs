use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = -1)]
async fn integer(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = -0.5)]
async fn float(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
