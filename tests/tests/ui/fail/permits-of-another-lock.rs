use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", shared, permits = 2)]
async fn shared(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ["a", "b"], permits = 2)]
async fn several(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", permits = 2, every = "1d")]
async fn periodic(pool: &PgPool) -> Result<Option<()>, Error> {
    Ok(Some(()))
}

fn main() {}
