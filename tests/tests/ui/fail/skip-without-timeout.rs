use advisory_core::{AdvisoryLock, Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(side_effect = Skip)]
async fn on_a_pool(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(side_effect = Skip, polling = 0.1, scope = session)]
async fn in_a_session(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = lock, side_effect = Skip)]
async fn with_a_lock(_tx: &mut PgTransaction<'_>, lock: AdvisoryLock) -> Result<(), Error> {
    drop(lock);
    Ok(())
}

#[advisory(timeout = None, side_effect = Skip)]
async fn without_an_end(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

// Whether the misspelt option is the timeout is unknown, so it is the only error.
#[advisory(timout = 2, side_effect = Skip)]
async fn misspelt(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
