use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = "a", map_err = Error::to_string)]
async fn not_by_value(_pool: &PgPool) -> Result<(), String> {
    Ok(())
}

#[advisory(key = "a", map_err = |error| error.to_string())]
async fn of_another_type(_pool: &PgPool) -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {}
