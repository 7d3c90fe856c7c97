use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "job", polling = 0)]
async fn job(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
