use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(scope = "session", side_effect = "Skip", timeout = 0)]
async fn words(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(isolation = "repeatable read", scheme = "sha256")]
async fn names(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
