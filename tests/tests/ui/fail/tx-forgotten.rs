use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(key = "job")]
async fn on_a_pool(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    helper(tx, 1).await?;
    Ok(pool.is_closed())
}

struct Jobs {
    pool: PgPool,
}

impl Jobs {
    #[advisory(key = "jobs", on = self.pool)]
    async fn on_a_field(&self, id: i64) -> Result<(), Error> {
        if id > 0 {
            helper(&mut *tx, id).await?;
        }
        Ok(())
    }
}

async fn helper(tx: &mut PgTransaction<'_>, id: i64) -> Result<(), Error> {
    let _ = (tx, id);
    Ok(())
}

fn main() {}
