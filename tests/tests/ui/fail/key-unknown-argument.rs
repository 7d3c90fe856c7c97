use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "sync({clientid})")]
async fn misspelt(_pool: &PgPool, client_id: i64) -> Result<i64, Error> {
    Ok(client_id)
}

#[advisory(keys = ["sync({client})"])]
async fn not_shown(_pool: &PgPool, client: Vec<u8>) -> Result<Vec<u8>, Error> {
    Ok(client)
}

fn main() {}
