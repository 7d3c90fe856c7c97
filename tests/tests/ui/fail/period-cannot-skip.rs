use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(every = "1d")]
async fn report(_pool: &PgPool) -> Result<u32, Error> {
    Ok(7)
}

fn main() {}
