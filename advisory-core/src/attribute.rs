//! What the expansion of `#[advisory]` calls. Not part of the public API.
#![expect(missing_docs, reason = "hidden")]

use std::future::Future;

use sqlx::PgTransaction;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, Postgres};

pub use crate::connection::ConnectionScope;
use crate::transaction::OwnTransaction;
use crate::watch::{gone, until};
use crate::{AdvisoryLock, Error, LockExecutor as _, SessionGuard, Skipped, session, xact};

/// How an annotated function reports that the lock could not be taken.
#[diagnostic::on_unimplemented(
    message = "an `#[advisory]` function returns `Result<T, E>`, not `{Self}`",
    label = "expected `Result<T, E>` with `E: From<advisory_core::Error>`",
    note = "the lock can fail, and the function has to say so"
)]
pub trait Outcome {
    fn raise(error: Error) -> Self;
    fn is_ok(&self) -> bool;
}

impl<T, E: From<Error>> Outcome for Result<T, E> {
    fn raise(error: Error) -> Self {
        Err(error.into())
    }

    fn is_ok(&self) -> bool {
        self.is_ok()
    }
}

/// How an annotated function reports that it was skipped.
#[diagnostic::on_unimplemented(
    message = "an `#[advisory]` function returns `Result<T, E>`, not `{Self}`",
    label = "expected `Result<T, E>` with `T: Skipped` and `E: From<advisory_core::Error>`"
)]
pub trait SkippedOutcome: Outcome {
    fn skip() -> Self;
}

impl<T: Skipped, E: From<Error>> SkippedOutcome for Result<T, E> {
    fn skip() -> Self {
        Ok(T::skipped())
    }
}

/// Where an annotated function takes its lock.
#[diagnostic::on_unimplemented(
    message = "`#[advisory]` cannot lock on `{Self}`",
    label = "expected a pool, or `&mut` of a transaction or a connection"
)]
pub trait Target {
    type Scope;

    /// Waits for the lock; an error if it is not to be had.
    fn enter(self, lock: &AdvisoryLock) -> impl Future<Output = Result<Self::Scope, Error>> + Send;

    /// Waits for the lock just the same; `None` if it is not to be had.
    fn try_enter(
        self,
        lock: &AdvisoryLock,
    ) -> impl Future<Output = Result<Option<Self::Scope>, Error>> + Send;
}

impl Target for &PgPool {
    type Scope = PoolScope;

    async fn enter(self, lock: &AdvisoryLock) -> Result<PoolScope, Error> {
        let transaction = OwnTransaction::begin(lock, self).await?;
        Ok(PoolScope::new(lock, transaction))
    }

    async fn try_enter(self, lock: &AdvisoryLock) -> Result<Option<PoolScope>, Error> {
        let transaction = OwnTransaction::try_begin(lock, self, lock.wait()).await?;
        Ok(transaction.map(|transaction| PoolScope::new(lock, transaction)))
    }
}

impl Target for &mut PgTransaction<'_> {
    type Scope = Joined;

    async fn enter(self, lock: &AdvisoryLock) -> Result<Joined, Error> {
        lock.acquire_xact(self).await.map(|()| Joined)
    }

    async fn try_enter(mut self, lock: &AdvisoryLock) -> Result<Option<Joined>, Error> {
        let acquired = xact::try_join(lock, self.connection(), lock.wait()).await?;
        Ok(acquired.then_some(Joined))
    }
}

impl<'c> Target for &'c mut PgConnection {
    type Scope = ConnectionScope<'c, PgConnection>;

    async fn enter(self, lock: &AdvisoryLock) -> Result<Self::Scope, Error> {
        ConnectionScope::enter(self, lock).await
    }

    async fn try_enter(self, lock: &AdvisoryLock) -> Result<Option<Self::Scope>, Error> {
        ConnectionScope::try_enter(self, lock).await
    }
}

impl<'c> Target for &'c mut PoolConnection<Postgres> {
    type Scope = ConnectionScope<'c, PoolConnection<Postgres>>;

    async fn enter(self, lock: &AdvisoryLock) -> Result<Self::Scope, Error> {
        ConnectionScope::enter(self, lock).await
    }

    async fn try_enter(self, lock: &AdvisoryLock) -> Result<Option<Self::Scope>, Error> {
        ConnectionScope::try_enter(self, lock).await
    }
}

/// Where an annotated function takes a session lock.
#[diagnostic::on_unimplemented(
    message = "`#[advisory(scope = session)]` cannot lock on `{Self}`",
    label = "expected a pool: a session lock has a session of its own"
)]
pub trait SessionTarget {
    type Scope;

    /// Waits for the lock; an error if it is not to be had.
    fn enter(self, lock: &AdvisoryLock) -> impl Future<Output = Result<Self::Scope, Error>> + Send;

    /// Waits for the lock just the same; `None` if it is not to be had.
    fn try_enter(
        self,
        lock: &AdvisoryLock,
    ) -> impl Future<Output = Result<Option<Self::Scope>, Error>> + Send;
}

impl SessionTarget for &PgPool {
    type Scope = SessionScope;

    async fn enter(self, lock: &AdvisoryLock) -> Result<SessionScope, Error> {
        lock.acquire(self).await.map(SessionScope)
    }

    async fn try_enter(self, lock: &AdvisoryLock) -> Result<Option<SessionScope>, Error> {
        let guard = session::try_acquire(lock, self, lock.wait()).await?;
        Ok(guard.map(SessionScope))
    }
}

/// The body runs beside a session of our own.
#[derive(Debug)]
pub struct SessionScope(SessionGuard);

impl SessionScope {
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        self.0.until_lost(body)
    }

    /// Releases. A body that has failed is told, whatever has become of the lock.
    pub async fn finish(self, succeeded: bool) -> Result<(), Error> {
        let released = self.0.release().await;
        if succeeded { released } else { Ok(()) }
    }
}

/// Finds out by method look-up what an expression is: a pool.
pub trait OnPool {
    fn pool_or_connection(&self) -> &PgPool;
}

impl OnPool for PgPool {
    fn pool_or_connection(&self) -> &PgPool {
        self
    }
}

/// Finds out by method look-up what an expression is: a transaction or a connection.
pub trait OnConnection {
    fn pool_or_connection(&mut self) -> &mut Self;
}

impl OnConnection for PgTransaction<'_> {
    fn pool_or_connection(&mut self) -> &mut Self {
        self
    }
}

impl OnConnection for PgConnection {
    fn pool_or_connection(&mut self) -> &mut Self {
        self
    }
}

impl OnConnection for PoolConnection<Postgres> {
    fn pool_or_connection(&mut self) -> &mut Self {
        self
    }
}

/// The body runs in a transaction of our own, or beside it.
#[derive(Debug)]
pub struct PoolScope {
    lock: AdvisoryLock,
    transaction: OwnTransaction,
}

impl PoolScope {
    fn new(lock: &AdvisoryLock, transaction: OwnTransaction) -> Self {
        Self {
            lock: lock.for_error(),
            transaction,
        }
    }

    /// For a body that runs in it, and is told of its loss by its own statements.
    pub fn transaction(&mut self) -> &mut PgTransaction<'static> {
        self.transaction.get()
    }

    /// For a body that runs beside it.
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        until(&self.lock, gone(&self.lock, self.transaction.get()), body)
    }

    /// Commits, or rolls back.
    pub async fn finish(self, commit: bool) -> Result<(), Error> {
        self.transaction.finish(commit).await
    }
}

/// The body runs in the caller's transaction.
#[derive(Debug)]
pub struct Joined;

impl Joined {
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        let body = Box::pin(body);
        async { Ok(body.await) }
    }

    #[expect(
        clippy::unused_async,
        reason = "every scope is finished in the same way"
    )]
    pub async fn finish(self, _commit: bool) -> Result<(), Error> {
        Ok(())
    }
}
