use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", shared, permits = 2)]
async fn shared(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ["a", "b"], permits = 2)]
async fn several(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
