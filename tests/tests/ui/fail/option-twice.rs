use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 2, shared, timeout = 3)]
async fn same(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", keys = ["b"])]
async fn one_or_several(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
