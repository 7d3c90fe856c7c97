use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(on = poll)]
async fn sync(pool: &PgPool) -> Result<bool, Error> {
    Ok(pool.is_closed())
}

fn main() {}
