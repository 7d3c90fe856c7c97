use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(timeout = 0, side_effect = Skip)]
async fn on_pool(_pool: &PgPool) -> Result<u64, Error> {
    Ok(1)
}

#[advisory(timeout = 0, side_effect = Skip)]
async fn on_transaction(_tx: &mut PgTransaction<'_>) -> Result<Vec<u8>, sqlx::Error> {
    Ok(Vec::new())
}

fn main() {}
