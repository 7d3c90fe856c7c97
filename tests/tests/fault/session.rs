//! Scenarios of a lock that a session holds.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, SessionGuard, advisory};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::env::{Env, Outcome, Run, some_if_acquired};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("acquire, no timeout", acquire).without_bound(),
        Scenario::new("acquire", acquire),
        Scenario::new("acquire, first in the pool", acquire).on(PoolState::New),
        Scenario::new("acquire, granted", acquire).granted(),
        Scenario::new("acquire, timed out", acquire).timed_out(),
        Scenario::new("acquire, no timeout, dropped in the queue", drop_wait)
            .without_bound()
            .refused(),
        Scenario::new("acquire, several", acquire).several(),
        Scenario::new("acquire, polling, granted", acquire)
            .polling()
            .granted(),
        Scenario::new("acquire, guard dropped", drop_guard),
        Scenario::new("try_acquire", try_acquire).without_timeout(),
        Scenario::new("try_acquire, first in the pool", try_acquire)
            .without_timeout()
            .on(PoolState::New),
        Scenario::new("try_acquire, refused", try_acquire)
            .without_timeout()
            .refused(),
        Scenario::new("try_acquire, several, refused", try_acquire)
            .several()
            .without_timeout()
            .refused(),
        Scenario::new("until_lost", until_lost),
        Scenario::new("until_lost, long", until_lost_for_long),
        Scenario::new("#[advisory(scope = session)]", beside),
        Scenario::new("#[advisory(scope = session)], timed out", beside).timed_out(),
        Scenario::new("#[advisory(scope = session)], skipped", beside_or_skip).refused_at_once(),
    ]
}

async fn work(env: &Env, mut guard: SessionGuard) -> Outcome {
    env.write(guard.connection().await?).await?;
    env.with_caller_timeout(guard.fencing_token()).await?;
    guard.release().await?;
    Ok(true)
}

fn acquire(env: Arc<Env>) -> Run {
    Box::pin(async move {
        match some_if_acquired(env.session_lock().acquire(&env.pool).await)? {
            Some(guard) => work(&env, guard).await,
            None => Ok(false),
        }
    })
}

fn drop_wait(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let lock = env.session_lock();
        tokio::select! {
            outcome = lock.acquire(&env.pool) => Ok(some_if_acquired(outcome)?.is_some()),
            () = env.fixture.database.wait_until_waiting(1) => Ok(false),
        }
    })
}

fn try_acquire(env: Arc<Env>) -> Run {
    Box::pin(async move {
        match env.session_lock().try_acquire(&env.pool).await? {
            Some(guard) => work(&env, guard).await,
            None => Ok(false),
        }
    })
}

fn drop_guard(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut guard = env.session_lock().acquire(&env.pool).await?;
        env.write(guard.connection().await?).await?;
        drop(guard);
        Ok(true)
    })
}

fn until_lost(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let guard = env.session_lock().acquire(&env.pool).await?;
        guard.until_lost(env.write(&env.pool)).await??;
        guard.release().await?;
        Ok(true)
    })
}

/// The body lasts longer than the interval at which the session is probed.
fn until_lost_for_long(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let guard = env.session_lock().acquire(&env.pool).await?;
        let body = async {
            sleep(Duration::from_millis(250)).await;
            env.write(&env.pool).await
        };
        guard.until_lost(body).await??;
        guard.release().await?;
        Ok(true)
    })
}

#[advisory(key = env.session_lock(), scope = session)]
async fn write_beside(pool: &PgPool, env: &Env) -> Result<(), Error> {
    env.write(pool).await
}

fn beside(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let outcome = some_if_acquired(write_beside(&env.pool, &env).await)?;
        Ok(outcome.is_some())
    })
}

#[advisory(key = env.session_lock(), scope = session, timeout = env.timeout, side_effect = Skip)]
async fn write_or_skip(pool: &PgPool, env: &Env) -> Result<Option<()>, Error> {
    env.write(pool).await.map(Some)
}

fn beside_or_skip(env: Arc<Env>) -> Run {
    Box::pin(async move { Ok(write_or_skip(&env.pool, &env).await?.is_some()) })
}
