use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key, timeout =, side_effect(Skip), on)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
