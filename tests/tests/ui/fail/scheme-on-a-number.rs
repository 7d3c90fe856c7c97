use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = 42, scheme = Crc32)]
async fn number(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
