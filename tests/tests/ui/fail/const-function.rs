use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory]
const fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
