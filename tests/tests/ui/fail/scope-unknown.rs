use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(scope = statement)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
