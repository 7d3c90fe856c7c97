use advisory_core::{Error, advisory};
use sqlx::PgTransaction;

#[advisory(key = "job", isolation = RepeatableRead)]
async fn job(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

fn main() {}
