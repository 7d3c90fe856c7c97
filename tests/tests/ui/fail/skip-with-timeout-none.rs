use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = None, side_effect = Skip)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
