//! Scenarios of a lock with a transaction of its own.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::env::{Env, Run, some_if_acquired};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("begin, no timeout", begin).without_bound(),
        Scenario::new("begin", begin),
        Scenario::new("begin, first in the pool", begin).on(PoolState::New),
        Scenario::new("begin, granted", begin).granted(),
        Scenario::new("begin, timed out", begin).timed_out(),
        Scenario::new("begin, no timeout, dropped in the queue", drop_wait)
            .without_bound()
            .refused(),
        Scenario::new("begin, several", begin).several(),
        Scenario::new("begin, polling, granted", begin)
            .polling()
            .granted(),
        Scenario::new("begin, isolated", begin).isolated(),
        Scenario::new("begin, isolated, first in the pool", begin)
            .isolated()
            .on(PoolState::New),
        Scenario::new("begin, isolated, granted", begin)
            .isolated()
            .granted(),
        Scenario::new("begin, isolated, timed out", begin)
            .isolated()
            .timed_out(),
        Scenario::new("try_begin", try_begin).without_timeout(),
        Scenario::new("try_begin, first in the pool", try_begin)
            .without_timeout()
            .on(PoolState::New),
        Scenario::new("try_begin, refused", try_begin)
            .without_timeout()
            .refused(),
        Scenario::new("try_begin, granted", try_begin).granted(),
        Scenario::new("try_begin, isolated, refused", try_begin)
            .isolated()
            .without_timeout()
            .refused(),
        Scenario::new("transaction", transaction),
        Scenario::new("transaction, timed out", transaction).timed_out(),
        Scenario::new("transaction, rolled back", roll_back).rolled_back(),
        Scenario::new("transaction, dropped", drop_body).rolled_back(),
        Scenario::new("try_transaction", try_transaction).without_timeout(),
        Scenario::new("try_transaction, refused", try_transaction)
            .without_timeout()
            .refused(),
        Scenario::new("#[advisory(tx)]", inside),
        Scenario::new("#[advisory(tx)], timed out", inside).timed_out(),
        Scenario::new("#[advisory] beside a transaction", beside),
        Scenario::new("#[advisory] beside a transaction, long", beside_for_long),
        Scenario::new("#[advisory] beside a transaction, skipped", beside_or_skip)
            .refused_at_once(),
    ]
}

fn begin(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let Some(mut tx) = some_if_acquired(env.lock.begin(&env.pool).await)? else {
            return Ok(false);
        };
        env.write(&mut *tx).await?;
        env.with_caller_timeout(tx.commit()).await?;
        Ok(true)
    })
}

fn drop_wait(env: Arc<Env>) -> Run {
    Box::pin(async move {
        tokio::select! {
            outcome = env.lock.begin(&env.pool) => Ok(some_if_acquired(outcome)?.is_some()),
            () = env.fixture.database.wait_until_waiting(1) => Ok(false),
        }
    })
}

fn try_begin(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let Some(mut tx) = env.lock.try_begin(&env.pool).await? else {
            return Ok(false);
        };
        env.write(&mut *tx).await?;
        env.with_caller_timeout(tx.commit()).await?;
        Ok(true)
    })
}

fn transaction(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| env.write(&mut **tx).await;
        let outcome = env.until_committed(env.lock.transaction(&env.pool, body));
        Ok(some_if_acquired(outcome.await)?.is_some())
    })
}

/// Why a body fails.
enum BodyError {
    RollBack,
    Fault(Error),
}

impl From<Error> for BodyError {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

fn roll_back(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| -> Result<(), BodyError> {
            env.write(&mut **tx).await?;
            Err(BodyError::RollBack)
        };
        match env.lock.transaction(&env.pool, body).await {
            Ok(()) => Ok(true),
            Err(BodyError::RollBack) => Ok(false),
            Err(BodyError::Fault(error)) => Err(error),
        }
    })
}

/// The body never ends, and is dropped when the row has been written.
fn drop_body(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let (written, is_written) = oneshot::channel();
        let body = async |tx: &mut PgTransaction<'_>| -> Result<(), Error> {
            env.write(&mut **tx).await?;
            let _ = written.send(());
            pending().await
        };
        tokio::select! {
            outcome = env.lock.transaction(&env.pool, body) => outcome.map(|()| true),
            Ok(()) = is_written => Ok(false),
        }
    })
}

fn try_transaction(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let body = async |tx: &mut PgTransaction<'_>| env.write(&mut **tx).await;
        let outcome = env.until_committed(env.lock.try_transaction(&env.pool, body));
        Ok(outcome.await?.is_some())
    })
}

#[advisory(key = &env.lock, tx)]
async fn write_inside(pool: &PgPool, env: &Env) -> Result<(), Error> {
    env.write(&mut **tx).await
}

fn inside(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let outcome = env.until_committed(write_inside(&env.pool, &env)).await;
        Ok(some_if_acquired(outcome)?.is_some())
    })
}

#[advisory(key = &env.lock)]
async fn write_beside(pool: &PgPool, env: &Env) -> Result<(), Error> {
    env.write(pool).await
}

fn beside(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let outcome = env.until_committed(write_beside(&env.pool, &env)).await;
        Ok(some_if_acquired(outcome)?.is_some())
    })
}

/// The body lasts longer than 500 ms, the interval at which the transaction is probed.
#[advisory(key = &env.lock)]
async fn take_long(pool: &PgPool, env: &Env) -> Result<(), Error> {
    sleep(Duration::from_millis(600)).await;
    env.write(pool).await
}

fn beside_for_long(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let outcome = env.until_committed(take_long(&env.pool, &env)).await;
        Ok(some_if_acquired(outcome)?.is_some())
    })
}

#[advisory(key = &env.lock, timeout = env.timeout, side_effect = Skip)]
async fn write_or_skip(pool: &PgPool, env: &Env) -> Result<Option<()>, Error> {
    env.write(pool).await.map(Some)
}

fn beside_or_skip(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let outcome = env.until_committed(write_or_skip(&env.pool, &env)).await;
        Ok(outcome?.is_some())
    })
}
