use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(side_effect = Skip)]
async fn on_a_pool(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = None, side_effect = Skip)]
async fn without_an_end(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
