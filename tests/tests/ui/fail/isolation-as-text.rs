use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "job", isolation = "serializable")]
async fn job(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
