use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(every = "1mo")]
async fn a_month(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "soon")]
async fn no_period(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "0s", offset = "later")]
async fn nothing(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", periods = "app.jobs.period")]
async fn a_database(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(offset = "3h", periods = "jobs.period")]
async fn no_periods(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", shared)]
async fn shared(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(at_least = 60)]
async fn a_transaction_lock(_tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    Ok(())
}

#[advisory(at_least = "a minute", scope = session)]
async fn no_time(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
