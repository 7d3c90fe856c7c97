use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory("sync", timeout = 2)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
