use advisory_core::{Error, advisory};
use sqlx::PgTransaction;

#[advisory(key = "job", scope = session)]
async fn job(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

fn main() {}
