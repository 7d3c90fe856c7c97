use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(every = "1d", periods = table)]
async fn a_name(_pool: &PgPool, table: &str) -> Result<(), Error> {
    Ok(())
}

fn main() {}
