use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 0, side_effect = Skip)]
async fn on_pool(_pool: &PgPool) -> Result<u64, Error> {
    Ok(1)
}

fn main() {}
