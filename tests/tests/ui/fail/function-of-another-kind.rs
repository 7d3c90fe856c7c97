use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory]
fn not_async(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
const fn constant(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async extern "C" fn external(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async unsafe fn not_safe(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn without_a_result(_pool: &PgPool) {}

trait Run {
    #[advisory(key = "run")]
    async fn without_a_body(&self, pool: &PgPool) -> Result<(), Error>;
}

fn main() {}
