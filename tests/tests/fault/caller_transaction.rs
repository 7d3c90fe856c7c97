//! Scenarios of a lock in the caller's transaction, or on the caller's connection.

use std::sync::Arc;

use advisory_core::{Error, advisory, fencing_token};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgTransaction, Postgres};

use crate::env::{Env, Outcome, Run, some_if_acquired};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("acquire_xact", acquire_xact),
        Scenario::new("acquire_xact, first on the server", acquire_xact).on(PoolState::NewServer),
        Scenario::new("acquire_xact, granted", acquire_xact).granted(),
        Scenario::new("acquire_xact, timed out", acquire_xact).timed_out(),
        Scenario::new("acquire_xact, several", acquire_xact).several(),
        Scenario::new("acquire_xact, several, timed out", acquire_xact)
            .several()
            .timed_out(),
        Scenario::new("acquire_xact, polling, granted", acquire_xact)
            .polling()
            .granted(),
        Scenario::new("acquire_xact, dropped in the queue", drop_wait).refused(),
        Scenario::new("acquire_xact, no timeout, dropped in the queue", drop_wait)
            .without_bound()
            .refused(),
        Scenario::new("try_acquire_xact", try_acquire_xact).without_timeout(),
        Scenario::new("try_acquire_xact, refused", try_acquire_xact)
            .without_timeout()
            .refused(),
        Scenario::new("try_acquire_xact, timeout", try_acquire_xact),
        Scenario::new("try_acquire_xact, granted", try_acquire_xact).granted(),
        Scenario::new("try_acquire_xact, timed out", try_acquire_xact).timed_out(),
        Scenario::new("try_acquire_xact, several, refused", try_acquire_xact)
            .several()
            .without_timeout()
            .refused(),
        Scenario::new("try_acquire_xact, polling, timed out", try_acquire_xact)
            .polling()
            .timed_out(),
        Scenario::new("#[advisory] in a transaction", annotated),
        Scenario::new("#[advisory] in a transaction, timed out", annotated).timed_out(),
        Scenario::new("#[advisory] on a connection", on_connection),
        Scenario::new("#[advisory] on a connection, first", on_connection).on(PoolState::NewServer),
        Scenario::new("#[advisory] on a connection, granted", on_connection).granted(),
        Scenario::new("#[advisory] on a connection, timed out", on_connection).timed_out(),
        Scenario::new(
            "#[advisory] on a connection, skipped",
            on_connection_or_skip,
        )
        .refused_at_once(),
        Scenario::new("fencing_token in a transaction", with_token),
    ]
}

/// The transaction is usable, whether the lock was granted or not.
async fn finish(env: &Env, mut tx: PgTransaction<'_>, is_acquired: bool) -> Outcome {
    if is_acquired {
        env.write(&mut *tx).await?;
    } else {
        env.with_caller_timeout(tx.execute("SELECT 1")).await?;
    }
    env.with_caller_timeout(tx.commit()).await?;
    Ok(is_acquired)
}

fn acquire_xact(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        let outcome = some_if_acquired(env.lock.acquire_xact(&mut tx).await)?;
        finish(&env, tx, outcome.is_some()).await
    })
}

fn try_acquire_xact(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        let is_acquired = env.lock.try_acquire_xact(&mut tx).await?;
        finish(&env, tx, is_acquired).await
    })
}

/// The wait is cancelled through the pool. The next statement of the transaction reports the error.
fn drop_wait(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let lock = env.lock.clone().cancel_via(&env.pool);
        let mut tx = env.begin().await?;
        tokio::select! {
            outcome = lock.acquire_xact(&mut tx) => return Ok(some_if_acquired(outcome)?.is_some()),
            () = env.fixture.database.wait_until_waiting(1) => {}
        }
        match env.with_caller_timeout(tx.rollback()).await {
            Ok(()) | Err(Error::Database(sqlx::Error::Database(_))) => Ok(false),
            Err(error) => Err(error),
        }
    })
}

fn with_token(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        env.lock.acquire_xact(&mut tx).await?;
        env.with_caller_timeout(fencing_token(&mut tx)).await?;
        finish(&env, tx, true).await
    })
}

#[advisory(key = &env.lock)]
async fn join(tx: &mut PgTransaction<'_>, env: &Env) -> Result<(), Error> {
    env.write(&mut **tx).await
}

fn annotated(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        let outcome = some_if_acquired(join(&mut tx, &env).await)?;
        env.with_caller_timeout(tx.commit()).await?;
        Ok(outcome.is_some())
    })
}

#[advisory(key = &env.lock)]
async fn open(conn: &mut PoolConnection<Postgres>, env: &Env) -> Result<(), Error> {
    env.write(&mut **conn).await
}

fn on_connection(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
        let outcome = env.until_committed(open(&mut conn, &env)).await;
        Ok(some_if_acquired(outcome)?.is_some())
    })
}

#[advisory(key = &env.lock, timeout = env.timeout, side_effect = Skip)]
async fn open_or_skip(conn: &mut PoolConnection<Postgres>, env: &Env) -> Result<Option<()>, Error> {
    env.write(&mut **conn).await.map(Some)
}

fn on_connection_or_skip(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
        let outcome = env.until_committed(open_or_skip(&mut conn, &env)).await;
        Ok(outcome?.is_some())
    })
}
