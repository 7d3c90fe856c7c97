//! A session lock, and what else came with it.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, LockSession, advisory};
use sqlx::{PgPool, PgTransaction};

#[advisory(scope = session, timeout = 0, side_effect = Skip)]
async fn daily_report(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[advisory(key = "tenant:{id}", scope = session, timeout = 2)]
async fn tenant(locks: &LockSession, id: u32) -> Result<(), Error> {
    AdvisoryLock::new("inner")
        .acquire(locks)
        .await?
        .release()
        .await
}

#[advisory(key = "tenant:{id}", scope = session, on = locks)]
async fn another(pool: &PgPool, locks: Arc<LockSession>, id: u32) -> Result<u32, Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(id)
}

struct Service {
    pool: PgPool,
    locks: LockSession,
}

impl Service {
    #[advisory(key = "service", on = self.pool, scope = session, shared, polling = 0.1)]
    async fn lead(&self) -> Result<u32, sqlx::Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(7)
    }

    #[advisory(key = "service", on = self.locks, scope = session, timeout = 0, side_effect = Skip)]
    async fn follow(&self) -> Result<Option<u32>, sqlx::Error> {
        Ok(Some(7))
    }

    #[advisory(key = "service", on = self.pool, isolation = LEVEL, polling = Duration::from_millis(7))]
    async fn balance(&self) -> Result<(), Error> {
        Ok(())
    }
}

const LEVEL: Isolation = Isolation::Serializable;

#[advisory(key = "read", isolation = RepeatableRead, tx)]
async fn read(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[advisory(key = "joined", timeout = 2, cancel_via = &others.pool)]
async fn joined(tx: &mut PgTransaction<'_>, others: &Service) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}
