use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(keys = "sync({id})")]
async fn text(_pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

#[advisory(keys = id)]
async fn value(_pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

fn main() {}
