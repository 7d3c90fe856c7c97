use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = id)]
async fn unsigned(_pool: &PgPool, id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[advisory(key = id, scheme = Md5)]
async fn hashed(_pool: &PgPool, id: i64) -> Result<i64, Error> {
    Ok(id)
}

fn main() {}
