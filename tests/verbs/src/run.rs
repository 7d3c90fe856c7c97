//! Running a body under a lock.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Mode};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, PgConnection, PgPool, PgTransaction, Postgres};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::attribute::{
    beside_connection, in_session, in_session_or_skip, inside, inside_or_skip, on_connection,
    on_connection_or_skip, on_pool, on_pool_or_skip, on_transaction,
};
use crate::{Function, Refusal, Scope, Verb};

/// A boxed future.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// The connection that holds the lock; `None` if the body runs beside it.
pub type Held<'c> = Option<&'c mut PgConnection>;

/// What runs under the lock.
pub type Body<E> = Box<dyn for<'c> FnOnce(Held<'c>) -> Work<'c, Result<(), E>> + Send>;

/// The error of a body.
pub trait BodyError: From<Error> + From<sqlx::Error> + Send + 'static {}

impl<E: From<Error> + From<sqlx::Error> + Send + 'static> BodyError for E {}

/// Begins a transaction without a lock.
///
/// sqlx's `begin` leaves the transaction open in the pool if its future is dropped; a lock on no
/// keys does not.
pub async fn begin(pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
    AdvisoryLock::all([0_i64; 0]).begin(pool).await
}

impl Verb {
    /// Takes the lock, runs `body` and releases the lock. Returns `false` if the verb reports that
    /// the lock was not granted. A transaction or a connection of the caller is one of `pool`.
    pub fn run<E: BodyError>(
        self,
        lock: &AdvisoryLock,
        pool: &PgPool,
        body: impl for<'c> FnOnce(Held<'c>) -> Work<'c, Result<(), E>> + Send + 'static,
    ) -> Work<'static, Result<bool, E>> {
        let (lock, pool, body) = (lock.clone(), pool.clone(), Box::new(body) as Body<E>);
        match self.scope() {
            Scope::NewTransaction | Scope::Session | Scope::LockSession => {
                Box::pin(async move { self.run_on_pool(&lock, &pool, body).await })
            }
            Scope::CallerTransaction => Box::pin(async move {
                let mut tx = begin(&pool).await?;
                let acquired = self.run_in(&mut tx, &lock, body).await?;
                tx.commit().await?;
                Ok(acquired)
            }),
            Scope::CallerConnection | Scope::CallerSession => Box::pin(async move {
                let conn = pool.acquire().await?;
                self.run_on_connection(conn, &lock, body).await
            }),
        }
    }

    /// Takes the lock, runs a statement where the body has the connection, and releases the lock.
    pub fn ask(self, lock: &AdvisoryLock, pool: &PgPool) -> Work<'static, Result<bool, Error>> {
        self.run(lock, pool, |held| {
            Box::pin(async move {
                if let Some(conn) = held {
                    conn.execute("SELECT 1").await?;
                }
                Ok(())
            })
        })
    }

    /// Takes the lock and waits for `work`, without a statement. Otherwise as [`run`](Self::run).
    pub fn hold(
        self,
        lock: &AdvisoryLock,
        pool: &PgPool,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Work<'static, Result<bool, Error>> {
        self.run(lock, pool, move |_| {
            Box::pin(async move {
                work.await;
                Ok(())
            })
        })
    }

    /// Asserts that the lock is not granted. Returns the error, if the verb returns one. It names
    /// the holders; see [`with_holders`].
    ///
    /// # Panics
    ///
    /// If the lock is granted, or the error is another one.
    pub async fn assert_refused(self, lock: &AdvisoryLock, pool: &PgPool) -> Option<Error> {
        match with_holders(async || self.ask(lock, pool).await).await {
            Ok(false) => None,
            Err(error) if error.is_not_acquired() => Some(error),
            other => panic!("{self}, not refused: {other:?}"),
        }
    }

    /// Takes the lock in a transaction of the caller, which then holds it.
    ///
    /// # Panics
    ///
    /// If the verb takes its lock elsewhere: not [`Verb::is_in_callers_transaction`].
    pub async fn join(
        self,
        lock: &AdvisoryLock,
        tx: &mut PgTransaction<'_>,
    ) -> Result<bool, Error> {
        self.run_in(tx, lock, Box::new(|_| Box::pin(async { Ok(()) })))
            .await
    }

    async fn run_on_pool<E: BodyError>(
        self,
        lock: &AdvisoryLock,
        pool: &PgPool,
        body: Body<E>,
    ) -> Result<bool, E> {
        match self {
            Self::Begin => end(lock.begin(pool).await?, body).await?,
            Self::TryBegin => match lock.try_begin(pool).await? {
                Some(tx) => end(tx, body).await?,
                None => return Ok(false),
            },
            Self::Transaction => {
                let body = async |tx: &mut PgTransaction<'_>| body(Some(tx)).await;
                lock.transaction(pool, body).await?;
            }
            Self::TryTransaction => {
                let body = async |tx: &mut PgTransaction<'_>| body(Some(tx)).await;
                return Ok(lock.try_transaction(pool, body).await?.is_some());
            }
            Self::AttributeInside => inside(pool, lock, body).await?,
            Self::AttributeOnPool => on_pool(pool, lock, body).await?,
            Self::AttributeInsideSkipping => return inside_or_skip(pool, lock, body).await,
            Self::AttributeSkipping => return on_pool_or_skip(pool, lock, body).await,
            Self::Acquire => {
                let guard = lock.acquire(pool).await?;
                guard.until_lost(body(None)).await??;
                guard.release().await?;
            }
            Self::TryAcquire => {
                let Some(mut guard) = lock.try_acquire(pool).await? else {
                    return Ok(false);
                };
                match guard.connection().await {
                    Ok(conn) => body(Some(conn)).await?,
                    // Behind a pooler in transaction mode.
                    Err(Error::Unsupported { .. }) => body(None).await?,
                    Err(error) => return Err(error.into()),
                }
                guard.release().await?;
            }
            Self::AttributeInSession => in_session(pool, lock, body).await?,
            Self::AttributeInSessionSkipping => {
                return in_session_or_skip(pool, lock, body).await;
            }
            Self::AcquireXact
            | Self::TryAcquireXact
            | Self::AttributeOnTransaction
            | Self::AttributeOnConnection
            | Self::AttributeBesideConnection
            | Self::AttributeOnConnectionSkipping
            | Self::XactLock
            | Self::TryXactLock
            | Self::Lock
            | Self::TryLock => panic!("`{self}` is not on a pool"),
        }
        Ok(true)
    }

    async fn run_in<E: BodyError>(
        self,
        tx: &mut PgTransaction<'_>,
        lock: &AdvisoryLock,
        body: Body<E>,
    ) -> Result<bool, E> {
        let acquired = match self {
            Self::AttributeOnTransaction => {
                return on_transaction(tx, lock, body).await.map(|()| true);
            }
            Self::AcquireXact => lock.acquire_xact(&mut *tx).await.map(|()| true)?,
            Self::TryAcquireXact => lock.try_acquire_xact(&mut *tx).await?,
            Self::XactLock | Self::TryXactLock => {
                self.function(lock).call(&mut *tx, lock.keys()[0]).await?
            }
            other => panic!("`{other}` is not in a transaction of the caller"),
        };
        if acquired {
            body(Some(tx)).await?;
        }
        Ok(acquired)
    }

    async fn run_on_connection<E: BodyError>(
        self,
        mut conn: PoolConnection<Postgres>,
        lock: &AdvisoryLock,
        body: Body<E>,
    ) -> Result<bool, E> {
        match self {
            Self::AttributeOnConnection => on_connection(&mut conn, lock, body).await?,
            Self::AttributeBesideConnection => {
                beside_connection(&Mutex::new(conn), lock, body).await?;
            }
            Self::AttributeOnConnectionSkipping => {
                return on_connection_or_skip(&mut conn, lock, body).await;
            }
            Self::Lock | Self::TryLock => return self.run_in_session(conn, lock, body).await,
            other => panic!("`{other}` is not on a connection of the caller"),
        }
        Ok(true)
    }

    async fn run_in_session<E: BodyError>(
        self,
        mut conn: PoolConnection<Postgres>,
        lock: &AdvisoryLock,
        body: Body<E>,
    ) -> Result<bool, E> {
        // The documentation of the functions requires it, for a call that fails or is dropped.
        conn.close_on_drop();
        let (function, key) = (self.function(lock), lock.keys()[0]);
        if !function.call(&mut conn, key).await? {
            return Ok(false);
        }
        body(Some(&mut conn)).await?;
        Ok(function.unlock(&mut conn, key).await?)
    }

    fn function(self, lock: &AdvisoryLock) -> Function {
        Function {
            is_xact: self.is_in_transaction(),
            tries: self.refusal() == Refusal::Report,
            is_shared: lock.mode() == Mode::Shared,
        }
    }
}

/// The outcome of a verb that is dropped after some time, as words.
///
/// # Panics
///
/// If the verb returns an error other than "not acquired" or "no connection".
pub async fn outcome(
    running: Work<'static, Result<bool, Error>>,
    drop_after: Option<Duration>,
    plan: &impl Debug,
) -> &'static str {
    let outcome = match drop_after {
        Some(limit) => timeout(limit, running).await.ok(),
        None => Some(running.await),
    };
    match outcome {
        None => "dropped",
        Some(Ok(true)) => "acquired",
        Some(Ok(false)) => "not acquired",
        Some(Err(error)) if error.is_not_acquired() => "not acquired",
        // The wait for a connection is part of the wait.
        Some(Err(Error::Database(sqlx::Error::PoolTimedOut))) => "no connection",
        Some(Err(error)) => panic!("{plan:?}: {error:?}"),
    }
}

async fn end<E: BodyError>(mut tx: PgTransaction<'_>, body: Body<E>) -> Result<(), E> {
    body(Some(&mut tx)).await?;
    Ok(tx.commit().await?)
}

/// Repeats a call with a short timeout, until its pool has lent a connection in time. On a busy
/// machine, an idle connection can take longer than some milliseconds.
///
/// # Errors
///
/// Those of the call. `PoolTimedOut` after a hundred calls.
pub async fn with_connection<T>(call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..100 {
        match call().await {
            Err(Error::Database(sqlx::Error::PoolTimedOut)) => {}
            ended => return ended,
        }
    }
    call().await
}

/// As [`with_connection`], and until the error of a refused or ended wait names a holder. The error
/// waits for the list of holders for a quarter of a second, and a busy machine may need more.
///
/// # Errors
///
/// Those of the call. The last of twenty may name no holder.
pub async fn with_holders<T>(call: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 1..20 {
        match with_connection(&call).await {
            Err(error) if lacks_holders(&error) => {}
            ended => return ended,
        }
    }
    with_connection(&call).await
}

fn lacks_holders(error: &Error) -> bool {
    match error {
        Error::NotAcquired { holders, .. } => holders.is_empty(),
        error => error
            .ended_wait()
            .is_some_and(|ended| ended.holders.is_empty()),
    }
}
