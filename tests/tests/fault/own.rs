//! Stories of a lock with a transaction of its own.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::stage::{Stage, Tale, acquired};
use crate::story::{Pool, Story};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("begin, for ever", begin).for_ever(),
        Story::new("begin", begin),
        Story::new("begin, first in the pool", begin).on(Pool::New),
        Story::new("begin, granted", begin).granted(),
        Story::new("begin, timed out", begin).timed_out(),
        Story::new("begin, for ever, given up in the queue", give_up_wait)
            .for_ever()
            .refused(),
        Story::new("begin, several", begin).several(),
        Story::new("begin, polling, granted", begin)
            .polling()
            .granted(),
        Story::new("begin, isolated", begin).isolated(),
        Story::new("begin, isolated, first in the pool", begin)
            .isolated()
            .on(Pool::New),
        Story::new("begin, isolated, granted", begin)
            .isolated()
            .granted(),
        Story::new("begin, isolated, timed out", begin)
            .isolated()
            .timed_out(),
        Story::new("try_begin", try_begin).without_timeout(),
        Story::new("try_begin, first in the pool", try_begin)
            .without_timeout()
            .on(Pool::New),
        Story::new("try_begin, refused", try_begin)
            .without_timeout()
            .refused(),
        Story::new("try_begin, granted", try_begin).granted(),
        Story::new("try_begin, isolated, refused", try_begin)
            .isolated()
            .without_timeout()
            .refused(),
        Story::new("transaction", transaction),
        Story::new("transaction, timed out", transaction).timed_out(),
        Story::new("transaction, rolled back", change_mind).rolled_back(),
        Story::new("transaction, dropped", give_up).rolled_back(),
        Story::new("try_transaction", try_transaction).without_timeout(),
        Story::new("try_transaction, refused", try_transaction)
            .without_timeout()
            .refused(),
        Story::new("#[advisory(tx)]", inside),
        Story::new("#[advisory(tx)], timed out", inside).timed_out(),
        Story::new("#[advisory] beside a transaction", beside),
        Story::new("#[advisory] beside a transaction, long", beside_for_long),
        Story::new("#[advisory] beside a transaction, skipped", beside_or_skip).refused_at_once(),
    ]
}

fn begin(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let Some(mut tx) = acquired(stage.lock.begin(&stage.pool).await)? else {
            return Ok(false);
        };
        stage.write(&mut *tx).await?;
        stage.patiently(tx.commit()).await?;
        Ok(true)
    })
}

fn give_up_wait(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        tokio::select! {
            told = stage.lock.begin(&stage.pool) => Ok(acquired(told)?.is_some()),
            () = stage.place.database.wait_until_waiting(1) => Ok(false),
        }
    })
}

fn try_begin(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let Some(mut tx) = stage.lock.try_begin(&stage.pool).await? else {
            return Ok(false);
        };
        stage.write(&mut *tx).await?;
        stage.patiently(tx.commit()).await?;
        Ok(true)
    })
}

fn transaction(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| stage.write(&mut **tx).await;
        let told = stage.until_committed(stage.lock.transaction(&stage.pool, body));
        Ok(acquired(told.await)?.is_some())
    })
}

/// Why a body fails.
enum End {
    ChangeOfMind,
    Fault(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

fn change_mind(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| -> Result<(), End> {
            stage.write(&mut **tx).await?;
            Err(End::ChangeOfMind)
        };
        match stage.lock.transaction(&stage.pool, body).await {
            Ok(()) => Ok(true),
            Err(End::ChangeOfMind) => Ok(false),
            Err(End::Fault(error)) => Err(error),
        }
    })
}

/// The body has no end, and is dropped when the row is written.
fn give_up(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let (written, is_written) = oneshot::channel();
        let body = async |tx: &mut PgTransaction<'_>| -> Result<(), Error> {
            stage.write(&mut **tx).await?;
            let _ = written.send(());
            pending().await
        };
        tokio::select! {
            told = stage.lock.transaction(&stage.pool, body) => told.map(|()| true),
            Ok(()) = is_written => Ok(false),
        }
    })
}

fn try_transaction(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| stage.write(&mut **tx).await;
        let told = stage.until_committed(stage.lock.try_transaction(&stage.pool, body));
        Ok(told.await?.is_some())
    })
}

#[advisory(key = &stage.lock, tx)]
async fn write_inside(pool: &PgPool, stage: &Stage) -> Result<(), Error> {
    stage.write(&mut **tx).await
}

fn inside(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let told = stage
            .until_committed(write_inside(&stage.pool, &stage))
            .await;
        Ok(acquired(told)?.is_some())
    })
}

#[advisory(key = &stage.lock)]
async fn write_beside(pool: &PgPool, stage: &Stage) -> Result<(), Error> {
    stage.write(pool).await
}

fn beside(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let told = stage
            .until_committed(write_beside(&stage.pool, &stage))
            .await;
        Ok(acquired(told)?.is_some())
    })
}

/// So long that the transaction is asked whether it is still there, as it is every 500 ms.
#[advisory(key = &stage.lock)]
async fn take_long(pool: &PgPool, stage: &Stage) -> Result<(), Error> {
    sleep(Duration::from_millis(600)).await;
    stage.write(pool).await
}

fn beside_for_long(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let told = stage.until_committed(take_long(&stage.pool, &stage)).await;
        Ok(acquired(told)?.is_some())
    })
}

#[advisory(key = &stage.lock, timeout = stage.timeout, side_effect = Skip)]
async fn write_or_skip(pool: &PgPool, stage: &Stage) -> Result<Option<()>, Error> {
    stage.write(pool).await.map(Some)
}

fn beside_or_skip(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let told = stage
            .until_committed(write_or_skip(&stage.pool, &stage))
            .await;
        Ok(told?.is_some())
    })
}
