//! Scenarios that do more with a lock than to hold it while a body runs.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, fencing_token, lock, unlock_all};
use advisory_verbs::{Verb, begin};
use sqlx::PgTransaction;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::env::{Env, Run};
use crate::scenario::{PoolState, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    let dropped =
        |name, run: fn(Arc<Env>) -> Run| Scenario::new(name, run).without_bound().refused();
    vec![
        dropped("begin, dropped in the queue", |env| {
            drop_wait(Verb::Begin, env)
        }),
        dropped("acquire, dropped in the queue", |env| {
            drop_wait(Verb::Acquire, env)
        }),
        dropped("acquire_xact, dropped in the queue", drop_acquire_xact),
        Scenario::new("transaction, rolled back", roll_back).rolled_back(),
        Scenario::new("transaction, dropped", drop_body).rolled_back(),
        Scenario::new("a long body beside a transaction", |env| {
            take_long(Verb::AttributeOnPool, 600, env)
        }),
        Scenario::new("a long body beside a session", |env| {
            take_long(Verb::Acquire, 250, env)
        }),
        Scenario::new("acquire, guard dropped", drop_guard),
        Scenario::new("fencing_token in a session", token_of_session),
        Scenario::new("fencing_token in a transaction", token_of_transaction),
        Scenario::new("lock, unlock_all", lock_and_unlock_all),
        Scenario::new("lock, release_leftover_locks", leave_locked).on(PoolState::Hygienic),
    ]
}

/// Drops the wait when it is in the queue.
fn drop_wait(verb: Verb, env: Arc<Env>) -> Run {
    Box::pin(async move {
        tokio::select! {
            outcome = verb.ask(&env.session_lock_if(verb), &env.pool) => match outcome {
                Err(error) if error.is_not_acquired() => Ok(false),
                outcome => outcome,
            },
            () = env.fixture.database.wait_until_waiting(1) => Ok(false),
        }
    })
}

/// The wait is cancelled through the pool. The next statement of the transaction reports the error.
fn drop_acquire_xact(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let lock = env.lock.clone().cancel_via(&env.pool);
        let mut tx = begin(&env.pool).await?;
        tokio::select! {
            outcome = lock.acquire_xact(&mut tx) => match outcome {
                Err(error) if error.is_not_acquired() => return Ok(false),
                outcome => return outcome.map(|()| true),
            },
            () = env.fixture.database.wait_until_waiting(1) => {}
        }
        match env.with_caller_timeout(tx.rollback()).await {
            Ok(()) | Err(Error::Database(sqlx::Error::Database(_))) => Ok(false),
            Err(error) => Err(error),
        }
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

/// The body lasts longer than the interval at which the connection that holds the lock is probed:
/// 500 ms for a transaction, 100 ms for a session.
fn take_long(verb: Verb, milliseconds: u64, env: Arc<Env>) -> Run {
    let writing = Arc::clone(&env);
    let running = verb.run(&env.session_lock_if(verb), &env.pool, move |_| {
        Box::pin(async move {
            sleep(Duration::from_millis(milliseconds)).await;
            writing.write(&writing.pool).await
        })
    });
    Box::pin(async move { env.until_committed(running).await })
}

fn drop_guard(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut guard = env.session_lock().acquire(&env.pool).await?;
        env.write(guard.connection().await?).await?;
        drop(guard);
        Ok(true)
    })
}

fn token_of_session(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut guard = env.session_lock().acquire(&env.pool).await?;
        env.write(guard.connection().await?).await?;
        env.with_caller_timeout(guard.fencing_token()).await?;
        guard.release().await?;
        Ok(true)
    })
}

fn token_of_transaction(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut tx = env.lock.begin(&env.pool).await?;
        env.with_caller_timeout(fencing_token(&mut tx)).await?;
        env.write(&mut *tx).await?;
        env.with_caller_timeout(tx.commit()).await?;
        Ok(true)
    })
}

/// The documentation of the functions requires that the connection is closed if one of them fails
/// or is dropped.
fn lock_and_unlock_all(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
        conn.close_on_drop();
        env.with_caller_timeout(lock(&mut conn, 1)).await?;
        env.write(&mut *conn).await?;
        env.with_caller_timeout(unlock_all(&mut conn)).await?;
        Ok(true)
    })
}

/// The lock is not released. The pool finds it.
fn leave_locked(env: Arc<Env>) -> Run {
    Box::pin(async move {
        let mut conn = env.with_caller_timeout(env.pool.acquire()).await?;
        env.with_caller_timeout(lock(&mut conn, 1)).await?;
        env.write(&mut *conn).await?;
        Ok(true)
    })
}
