use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(scheme = "sha256")]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
