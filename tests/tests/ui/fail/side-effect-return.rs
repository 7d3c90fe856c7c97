use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 0, side_effect = Return)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
