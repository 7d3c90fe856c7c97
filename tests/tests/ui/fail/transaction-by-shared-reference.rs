use advisory_core::{Error, advisory};
use sqlx::PgTransaction;

#[advisory]
async fn sync(_tx: &PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

fn main() {}
