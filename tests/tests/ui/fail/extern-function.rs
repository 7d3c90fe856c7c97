use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory]
async extern "C" fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
