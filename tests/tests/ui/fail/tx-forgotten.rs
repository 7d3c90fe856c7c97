use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(key = "job")]
async fn on_a_pool(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    helper(tx, 1).await?;
    Ok(pool.is_closed())
}

async fn helper(tx: &mut PgTransaction<'_>, id: i64) -> Result<(), Error> {
    let _ = (tx, id);
    Ok(())
}

fn main() {}
