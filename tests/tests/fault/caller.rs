//! Stories of a lock in the caller's transaction, or on the caller's connection.

use std::sync::Arc;

use advisory_core::{Error, advisory, fencing_token};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgTransaction, Postgres};

use crate::stage::{Outcome, Stage, Tale, acquired};
use crate::story::{Pool, Story};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("acquire_xact", acquire_xact),
        Story::new("acquire_xact, first on the server", acquire_xact).on(Pool::First),
        Story::new("acquire_xact, granted", acquire_xact).granted(),
        Story::new("acquire_xact, timed out", acquire_xact).timed_out(),
        Story::new("acquire_xact, several", acquire_xact).several(),
        Story::new("acquire_xact, several, timed out", acquire_xact)
            .several()
            .timed_out(),
        Story::new("acquire_xact, polling, granted", acquire_xact)
            .polling()
            .granted(),
        Story::new("acquire_xact, given up in the queue", give_up).refused(),
        Story::new("acquire_xact, for ever, given up in the queue", give_up)
            .for_ever()
            .refused(),
        Story::new("try_acquire_xact", try_acquire_xact).without_timeout(),
        Story::new("try_acquire_xact, refused", try_acquire_xact)
            .without_timeout()
            .refused(),
        Story::new("try_acquire_xact, timeout", try_acquire_xact),
        Story::new("try_acquire_xact, granted", try_acquire_xact).granted(),
        Story::new("try_acquire_xact, timed out", try_acquire_xact).timed_out(),
        Story::new("try_acquire_xact, several, refused", try_acquire_xact)
            .several()
            .without_timeout()
            .refused(),
        Story::new("try_acquire_xact, polling, timed out", try_acquire_xact)
            .polling()
            .timed_out(),
        Story::new("#[advisory] in a transaction", annotated),
        Story::new("#[advisory] in a transaction, timed out", annotated).timed_out(),
        Story::new("#[advisory] on a connection", on_connection),
        Story::new("#[advisory] on a connection, first", on_connection).on(Pool::First),
        Story::new("#[advisory] on a connection, granted", on_connection).granted(),
        Story::new("#[advisory] on a connection, timed out", on_connection).timed_out(),
        Story::new(
            "#[advisory] on a connection, skipped",
            on_connection_or_skip,
        )
        .refused_at_once(),
        Story::new("fencing_token in a transaction", with_token),
    ]
}

/// The transaction is usable, whether the lock was granted or not.
async fn go_on(stage: &Stage, mut tx: PgTransaction<'_>, is_acquired: bool) -> Outcome {
    if is_acquired {
        stage.write(&mut *tx).await?;
    } else {
        stage.patiently(tx.execute("SELECT 1")).await?;
    }
    stage.patiently(tx.commit()).await?;
    Ok(is_acquired)
}

fn acquire_xact(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        let told = acquired(stage.lock.acquire_xact(&mut tx).await)?;
        go_on(&stage, tx, told.is_some()).await
    })
}

fn try_acquire_xact(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        let is_acquired = stage.lock.try_acquire_xact(&mut tx).await?;
        go_on(&stage, tx, is_acquired).await
    })
}

/// The wait is cancelled from beside the pool, and its error is the next thing that the transaction tells.
fn give_up(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let lock = stage.lock.clone().cancel_via(&stage.pool);
        let mut tx = stage.begin().await?;
        tokio::select! {
            told = lock.acquire_xact(&mut tx) => return Ok(acquired(told)?.is_some()),
            () = stage.place.database.wait_until_waiting(1) => {}
        }
        match stage.patiently(tx.rollback()).await {
            Ok(()) | Err(Error::Database(sqlx::Error::Database(_))) => Ok(false),
            Err(error) => Err(error),
        }
    })
}

fn with_token(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        stage.lock.acquire_xact(&mut tx).await?;
        stage.patiently(fencing_token(&mut tx)).await?;
        go_on(&stage, tx, true).await
    })
}

#[advisory(key = &stage.lock)]
async fn join(tx: &mut PgTransaction<'_>, stage: &Stage) -> Result<(), Error> {
    stage.write(&mut **tx).await
}

fn annotated(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut tx = stage.begin().await?;
        let told = acquired(join(&mut tx, &stage).await)?;
        stage.patiently(tx.commit()).await?;
        Ok(told.is_some())
    })
}

#[advisory(key = &stage.lock)]
async fn open(conn: &mut PoolConnection<Postgres>, stage: &Stage) -> Result<(), Error> {
    stage.write(&mut **conn).await
}

fn on_connection(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = stage.patiently(stage.pool.acquire()).await?;
        let told = stage.until_committed(open(&mut conn, &stage)).await;
        Ok(acquired(told)?.is_some())
    })
}

#[advisory(key = &stage.lock, timeout = stage.timeout, side_effect = Skip)]
async fn open_or_skip(
    conn: &mut PoolConnection<Postgres>,
    stage: &Stage,
) -> Result<Option<()>, Error> {
    stage.write(&mut **conn).await.map(Some)
}

fn on_connection_or_skip(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut conn = stage.patiently(stage.pool.acquire()).await?;
        let told = stage.until_committed(open_or_skip(&mut conn, &stage)).await;
        Ok(told?.is_some())
    })
}
