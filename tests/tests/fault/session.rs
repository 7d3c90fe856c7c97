//! Stories of a lock that a session holds.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, SessionGuard, advisory};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::stage::{Outcome, Stage, Tale, acquired};
use crate::story::{Pool, Story};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("acquire, for ever", acquire).for_ever(),
        Story::new("acquire", acquire),
        Story::new("acquire, first in the pool", acquire).on(Pool::New),
        Story::new("acquire, granted", acquire).granted(),
        Story::new("acquire, timed out", acquire).timed_out(),
        Story::new("acquire, for ever, given up in the queue", give_up_wait)
            .for_ever()
            .refused(),
        Story::new("acquire, several", acquire).several(),
        Story::new("acquire, polling, granted", acquire)
            .polling()
            .granted(),
        Story::new("acquire, guard dropped", drop_guard),
        Story::new("try_acquire", try_acquire).without_timeout(),
        Story::new("try_acquire, first in the pool", try_acquire)
            .without_timeout()
            .on(Pool::New),
        Story::new("try_acquire, refused", try_acquire)
            .without_timeout()
            .refused(),
        Story::new("try_acquire, several, refused", try_acquire)
            .several()
            .without_timeout()
            .refused(),
        Story::new("until_lost", until_lost),
        Story::new("until_lost, long", until_lost_for_long),
        Story::new("#[advisory(scope = session)]", beside),
        Story::new("#[advisory(scope = session)], timed out", beside).timed_out(),
        Story::new("#[advisory(scope = session)], skipped", beside_or_skip).refused_at_once(),
    ]
}

async fn work(stage: &Stage, mut guard: SessionGuard) -> Outcome {
    stage.write(guard.connection().await?).await?;
    stage.patiently(guard.fencing_token()).await?;
    guard.release().await?;
    Ok(true)
}

fn acquire(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        match acquired(stage.session_lock().acquire(&stage.pool).await)? {
            Some(guard) => work(&stage, guard).await,
            None => Ok(false),
        }
    })
}

fn give_up_wait(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let lock = stage.session_lock();
        tokio::select! {
            told = lock.acquire(&stage.pool) => Ok(acquired(told)?.is_some()),
            () = stage.place.database.wait_until_waiting(1) => Ok(false),
        }
    })
}

fn try_acquire(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        match stage.session_lock().try_acquire(&stage.pool).await? {
            Some(guard) => work(&stage, guard).await,
            None => Ok(false),
        }
    })
}

fn drop_guard(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let mut guard = stage.session_lock().acquire(&stage.pool).await?;
        stage.write(guard.connection().await?).await?;
        drop(guard);
        Ok(true)
    })
}

fn until_lost(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let guard = stage.session_lock().acquire(&stage.pool).await?;
        guard.until_lost(stage.write(&stage.pool)).await??;
        guard.release().await?;
        Ok(true)
    })
}

/// So long that the session is asked whether it is still there.
fn until_lost_for_long(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let guard = stage.session_lock().acquire(&stage.pool).await?;
        let body = async {
            sleep(Duration::from_millis(250)).await;
            stage.write(&stage.pool).await
        };
        guard.until_lost(body).await??;
        guard.release().await?;
        Ok(true)
    })
}

#[advisory(key = stage.session_lock(), scope = session)]
async fn write_beside(pool: &PgPool, stage: &Stage) -> Result<(), Error> {
    stage.write(pool).await
}

fn beside(stage: Arc<Stage>) -> Tale {
    Box::pin(async move {
        let told = acquired(write_beside(&stage.pool, &stage).await)?;
        Ok(told.is_some())
    })
}

#[advisory(key = stage.session_lock(), scope = session, timeout = stage.timeout, side_effect = Skip)]
async fn write_or_skip(pool: &PgPool, stage: &Stage) -> Result<Option<()>, Error> {
    stage.write(pool).await.map(Some)
}

fn beside_or_skip(stage: Arc<Stage>) -> Tale {
    Box::pin(async move { Ok(write_or_skip(&stage.pool, &stage).await?.is_some()) })
}
