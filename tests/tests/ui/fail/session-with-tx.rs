use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "job", scope = session, tx, isolation = Serializable, cancel_via = pool)]
async fn job(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
