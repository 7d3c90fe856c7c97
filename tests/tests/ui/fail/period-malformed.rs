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

#[advisory(every = 60)]
async fn a_number(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "0s", offset = "later")]
async fn nothing(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(offset = "3h")]
async fn an_offset_alone(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", periods = "jobs.")]
async fn no_table(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", periods = "app.jobs.period")]
async fn a_database(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", periods = "\"Period\"")]
async fn a_quoted_name(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(every = "1d", periods = 7)]
async fn a_number_of_periods(_pool: &PgPool) -> Result<(), Error> {
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
