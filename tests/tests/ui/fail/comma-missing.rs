use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "sync" timeout = 2)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = 2 seconds, shared)]
async fn with_a_unit(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
