use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(timeout = 18446744073709551616)]
async fn integer(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(timeout = 1e20)]
async fn float(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
