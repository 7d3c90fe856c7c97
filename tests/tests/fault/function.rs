//! Stories of PostgreSQL's own functions, which have no bound but the caller's.

use std::sync::Arc;

use advisory_core::{
    Error, Key, lock, lock_shared, try_lock, try_lock_shared, try_xact_lock, try_xact_lock_shared,
    unlock, unlock_all, unlock_shared, xact_lock, xact_lock_shared,
};
use sqlx::pool::PoolConnection;
use sqlx::{PgTransaction, Postgres};

use crate::stage::{Outcome, Stage, Tale};
use crate::story::{Pool, Story};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("xact_lock", xact),
        Story::new("xact_lock, first on the server", xact).on(Pool::First),
        Story::new("xact_lock, granted", xact).granted(),
        Story::new("xact_lock_shared", xact_shared),
        Story::new("try_xact_lock", try_xact),
        Story::new("try_xact_lock, refused", try_xact).refused(),
        Story::new("try_xact_lock_shared", try_xact_shared),
        Story::new("lock, unlock", session),
        Story::new("lock, unlock, granted", session).granted(),
        Story::new("lock_shared, unlock_shared", session_shared),
        Story::new("try_lock, unlock_all", try_session),
        Story::new("try_lock, refused", try_session).refused(),
        Story::new("try_lock_shared, unlock_all", try_session_shared),
        Story::new("lock, release_leftover_locks", forget).on(Pool::Hygienic),
    ]
}

const KEY: Key = Key::BigInt(1);

async fn work_in(stage: &Stage, mut tx: PgTransaction<'_>) -> Outcome {
    stage.write(&mut *tx).await?;
    stage.patiently(tx.commit()).await?;
    Ok(true)
}

fn xact(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        stage.patiently(xact_lock(&mut tx, KEY)).await?;
        work_in(&stage, tx).await
    })
}

fn xact_shared(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        stage.patiently(xact_lock_shared(&mut tx, KEY)).await?;
        work_in(&stage, tx).await
    })
}

fn try_xact(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        if !stage.patiently(try_xact_lock(&mut tx, KEY)).await? {
            return Ok(false);
        }
        work_in(&stage, tx).await
    })
}

fn try_xact_shared(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        let is_acquired = try_xact_lock_shared(&mut tx, KEY);
        if !stage.patiently(is_acquired).await? {
            return Ok(false);
        }
        work_in(&stage, tx).await
    })
}

/// A connection that is closed in the end, as the session functions ask for where one of them fails or is dropped.
async fn connection(stage: &Stage) -> Result<PoolConnection<Postgres>, Error> {
    let mut conn = stage.patiently(stage.pool.acquire()).await?;
    conn.close_on_drop();
    Ok(conn)
}

fn session(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = connection(&stage).await?;
        stage.patiently(lock(&mut conn, KEY)).await?;
        stage.write(&mut *conn).await?;
        stage.patiently(unlock(&mut conn, KEY)).await
    })
}

fn session_shared(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = connection(&stage).await?;
        stage.patiently(lock_shared(&mut conn, KEY)).await?;
        stage.write(&mut *conn).await?;
        stage.patiently(unlock_shared(&mut conn, KEY)).await
    })
}

fn try_session(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = connection(&stage).await?;
        if !stage.patiently(try_lock(&mut conn, KEY)).await? {
            return Ok(false);
        }
        stage.write(&mut *conn).await?;
        stage.patiently(unlock_all(&mut conn)).await?;
        Ok(true)
    })
}

fn try_session_shared(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = connection(&stage).await?;
        if !stage.patiently(try_lock_shared(&mut conn, KEY)).await? {
            return Ok(false);
        }
        stage.write(&mut *conn).await?;
        stage.patiently(unlock_all(&mut conn)).await?;
        Ok(true)
    })
}

/// The pool finds what was left.
fn forget(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = stage.patiently(stage.pool.acquire()).await?;
        stage.patiently(lock(&mut conn, KEY)).await?;
        stage.write(&mut *conn).await?;
        Ok(true)
    })
}
