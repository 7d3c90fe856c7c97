use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(scope = statement, timeout = 0, side_effect = Ignore)]
async fn unknown(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
