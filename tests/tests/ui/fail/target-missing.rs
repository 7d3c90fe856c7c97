use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

struct Jobs {
    _pool: PgPool,
}

impl Jobs {
    #[advisory(key = "jobs")]
    async fn method(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[advisory]
async fn function(_client_id: i64) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn optional(_tx: Option<&mut PgTransaction<'_>>) -> Result<(), Error> {
    Ok(())
}

fn main() {}
