use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(crate = "advisory-core")]
async fn text(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
