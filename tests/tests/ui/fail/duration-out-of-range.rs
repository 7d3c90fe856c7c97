use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = -1)]
async fn negative_integer(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = 1e20, polling = 0)]
async fn too_long_a_float(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(polling = 1e30, at_least = 1e30, scope = session)]
async fn neither_can_be_none(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
