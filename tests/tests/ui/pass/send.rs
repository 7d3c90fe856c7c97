//! The future is `Send` when the body is; that of a leader too.

use std::rc::Rc;

use advisory_core::{AdvisoryLock, Error, LockSession, advisory};
use sqlx::{PgConnection, PgPool, PgTransaction};

#[advisory(key = "sync({id})", timeout = 2, side_effect = Skip)]
async fn on_transaction(tx: &mut PgTransaction<'_>, id: i64) -> Result<Option<i64>, Error> {
    tokio::task::yield_now().await;
    Ok(Some(id))
}

#[advisory(key = "sync({id})", tx)]
async fn on_pool(pool: &PgPool, id: i64) -> Result<i64, Error> {
    on_transaction(tx, id).await?;
    Ok(id)
}

#[advisory]
async fn on_connection(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1").execute(conn).await?;
    Ok(())
}

#[advisory(keys = ["a:{id}", "b"], on = jobs.pool)]
async fn on_place(jobs: &Jobs, id: i64) -> Result<(), Error> {
    tokio::task::yield_now().await;
    Ok(())
}

/// The key's temporaries are gone before anything is awaited.
#[advisory(key = *Rc::new("key"))]
async fn with_a_local_key(pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

struct Jobs {
    pool: PgPool,
}

fn spawned(pool: PgPool, lock: AdvisoryLock, locks: LockSession) {
    tokio::spawn(async move {
        on_pool(&pool, 1).await?;
        on_connection(&mut *pool.acquire().await?).await?;
        on_transaction(&mut pool.begin().await?, 1).await?;
        on_place(&Jobs { pool: pool.clone() }, 1).await?;
        with_a_local_key(&pool).await?;
        lock.lead(&pool, async |_| on_pool(&pool, 1).await).await?;
        lock.lead(&locks, async |_| on_pool(&pool, 1).await).await?;
        Ok::<_, sqlx::Error>(())
    });
}

#[advisory]
async fn not_send(pool: &PgPool, count: Rc<u8>) -> Result<Rc<u8>, Error> {
    tokio::task::yield_now().await;
    Ok(count)
}
