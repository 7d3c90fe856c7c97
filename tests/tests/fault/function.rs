//! Scenarios of PostgreSQL's own functions, which only the caller can bound.

use std::sync::Arc;

use advisory_core::{
    Error, Key, lock, lock_shared, try_lock, try_lock_shared, try_xact_lock, try_xact_lock_shared,
    unlock, unlock_all, unlock_shared, xact_lock, xact_lock_shared,
};
use sqlx::pool::PoolConnection;
use sqlx::{PgTransaction, Postgres};

use crate::env::{Env, Outcome, Run};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("xact_lock", xact),
        Scenario::new("xact_lock, first on the server", xact).on(PoolState::NewServer),
        Scenario::new("xact_lock, granted", xact).granted(),
        Scenario::new("xact_lock_shared", xact_shared),
        Scenario::new("try_xact_lock", try_xact),
        Scenario::new("try_xact_lock, refused", try_xact).refused(),
        Scenario::new("try_xact_lock_shared", try_xact_shared),
        Scenario::new("lock, unlock", session),
        Scenario::new("lock, unlock, granted", session).granted(),
        Scenario::new("lock_shared, unlock_shared", session_shared),
        Scenario::new("try_lock, unlock_all", try_session),
        Scenario::new("try_lock, refused", try_session).refused(),
        Scenario::new("try_lock_shared, unlock_all", try_session_shared),
        Scenario::new("lock, release_leftover_locks", leave_locked).on(PoolState::Hygienic),
    ]
}

const KEY: Key = Key::BigInt(1);

async fn work_in(env: &Env, mut tx: PgTransaction<'_>) -> Outcome {
    env.write(&mut *tx).await?;
    env.with_caller_timeout(tx.commit()).await?;
    Ok(true)
}

fn xact(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        env.with_caller_timeout(xact_lock(&mut tx, KEY)).await?;
        work_in(&env, tx).await
    })
}

fn xact_shared(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        env.with_caller_timeout(xact_lock_shared(&mut tx, KEY))
            .await?;
        work_in(&env, tx).await
    })
}

fn try_xact(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        if !env.with_caller_timeout(try_xact_lock(&mut tx, KEY)).await? {
            return Ok(false);
        }
        work_in(&env, tx).await
    })
}

fn try_xact_shared(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.begin().await?;
        let is_acquired = try_xact_lock_shared(&mut tx, KEY);
        if !env.with_caller_timeout(is_acquired).await? {
            return Ok(false);
        }
        work_in(&env, tx).await
    })
}

/// A connection that is closed at the end. The session functions require that if one of them fails
/// or is dropped.
async fn connection(env: &Env) -> Result<PoolConnection<Postgres>, Error> {
    let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
    conn.close_on_drop();
    Ok(conn)
}

fn session(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = connection(&env).await?;
        env.with_caller_timeout(lock(&mut conn, KEY)).await?;
        env.write(&mut *conn).await?;
        env.with_caller_timeout(unlock(&mut conn, KEY)).await
    })
}

fn session_shared(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = connection(&env).await?;
        env.with_caller_timeout(lock_shared(&mut conn, KEY)).await?;
        env.write(&mut *conn).await?;
        env.with_caller_timeout(unlock_shared(&mut conn, KEY)).await
    })
}

fn try_session(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = connection(&env).await?;
        if !env.with_caller_timeout(try_lock(&mut conn, KEY)).await? {
            return Ok(false);
        }
        env.write(&mut *conn).await?;
        env.with_caller_timeout(unlock_all(&mut conn)).await?;
        Ok(true)
    })
}

fn try_session_shared(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = connection(&env).await?;
        if !env
            .with_caller_timeout(try_lock_shared(&mut conn, KEY))
            .await?
        {
            return Ok(false);
        }
        env.write(&mut *conn).await?;
        env.with_caller_timeout(unlock_all(&mut conn)).await?;
        Ok(true)
    })
}

/// The lock is not released. The pool finds it.
fn leave_locked(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
        env.with_caller_timeout(lock(&mut conn, KEY)).await?;
        env.write(&mut *conn).await?;
        Ok(true)
    })
}
