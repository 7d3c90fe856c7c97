use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", keys = ["b"])]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
