use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory]
async fn sync(_tx: &mut PgTransaction<'_>, _pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
