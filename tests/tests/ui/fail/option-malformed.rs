use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "sync" timeout = 2)]
async fn comma_missing(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key, timeout =, side_effect(Skip), on)]
async fn value_missing(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(shared = true)]
async fn flag_with_a_value(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory("sync", timeout = 2)]
async fn name_missing(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
