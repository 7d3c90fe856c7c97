use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(crate = "advisory-core")]
async fn text(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(crate = 1)]
async fn number(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
