use advisory_core::{AdvisoryLock, Error};
use sqlx::PgPool;

async fn count(pool: &PgPool) -> Result<(), Error> {
    AdvisoryLock::new("a").transaction(pool, async |_tx| Ok(())).await
}

async fn propagated(pool: &PgPool) -> Result<(), Error> {
    AdvisoryLock::new("a").transaction(pool, async |_tx| Ok(())).await?;
    Ok(())
}

fn main() {
    let _ = (count, propagated);
}
