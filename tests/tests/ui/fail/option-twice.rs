use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 2, shared, timeout = 3)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
