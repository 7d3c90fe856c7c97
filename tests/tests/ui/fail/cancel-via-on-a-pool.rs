use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "job", cancel_via = pool)]
async fn job(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
