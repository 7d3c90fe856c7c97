use advisory_core::advisory;
use sqlx::PgPool;

// A pattern binds `tx` somewhere in the body, so the compiler decides.
#[advisory(key = "job")]
async fn job(pool: &PgPool) -> Result<(), sqlx::Error> {
    {
        let tx = pool;
        let _ = tx;
    }
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

fn main() {}
