use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 0, side_effect = Ignore)]
async fn ignore(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
