use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(isolation = RepeatableRead)]
async fn begun_before(_tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory(scope = session)]
async fn session_of_the_caller(_tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory(cancel_via = pool)]
async fn leaves_the_queue_by_itself(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(scope = session, tx, isolation = Serializable, cancel_via = pool)]
async fn session_of_its_own(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
