//! What the expansion of `#[advisory]` calls. Not part of the public API.
#![expect(missing_docs, reason = "hidden")]

#[cfg(feature = "sea-orm")]
mod sea_orm;

use std::future::Future;
use std::ops::{Deref, Index, IndexMut};
use std::time::Duration;

use sqlx::PgTransaction;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, Postgres};

pub use crate::acquire::ConnectionScope;
use crate::acquire::{Body, NewTransaction, OwnTransaction, acquire, try_acquire};
use crate::error::Error;
use crate::lock::AdvisoryLock;
use crate::lock_session::{LockSession, LockSessionGuard};
use crate::nesting::Held;
use crate::period::PeriodicLock;
use crate::scheme::KeyScheme;
use crate::session::{transaction_lost, until_lost};
use crate::skipped::Skipped;
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

/// A function whose type nobody can write.
///
/// Where a trait of this module is not implemented for a type parameter of the user's, rustc would
/// advise to add the trait as a bound. It does not advise a bound that it cannot write.
pub fn unwritable() {}

/// What `key = …` accepts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key of an advisory lock",
    label = "expected text, an `i64`, an `i32`, a `u32`, a pair of `i32`s, or an `AdvisoryLock`",
    note = "text is made from any value that can be displayed: `key = \"{{id}}\"`"
)]
pub trait IntoLock<U> {
    fn into_lock(self) -> AdvisoryLock;
}

#[diagnostic::do_not_recommend]
impl<T: Into<AdvisoryLock>, U> IntoLock<U> for T {
    fn into_lock(self) -> AdvisoryLock {
        self.into()
    }
}

/// What `key = …` accepts together with `scheme = …`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not text, from which a scheme makes a key",
    label = "expected text",
    note = "text is made from any value that can be displayed: `key = \"{{id}}\"`"
)]
pub trait IntoName<U>: AsRef<str> {}

#[diagnostic::do_not_recommend]
impl<T: AsRef<str>, U> IntoName<U> for T {}

pub fn lock<U>(key: impl IntoLock<U>, _: U) -> AdvisoryLock {
    key.into_lock()
}

pub fn lock_with_scheme<U>(name: impl IntoName<U>, scheme: impl KeyScheme, _: U) -> AdvisoryLock {
    AdvisoryLock::with_scheme(name, scheme)
}

/// Converts the error of a lock as `map_err = …` says.
pub fn map_err<E>(convert: impl FnOnce(Error) -> E, error: Error) -> E {
    convert(error)
}

/// How an annotated function returns the error of its lock.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot return the error of an advisory lock",
    label = "expected `Result<T, E>` with `E: From<advisory_core::Error>`",
    note = "`sqlx::Error` and boxed errors have that `From`; for an error type of your own, implement it",
    note = "for an error type of another crate, convert the error with `map_err = …` in the attribute"
)]
pub trait Outcome<U> {
    fn raise(error: Error, _: U) -> Self;
    fn is_ok(&self, _: U) -> bool;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<Error>, U> Outcome<U> for Result<T, E> {
    fn raise(error: Error, _: U) -> Self {
        Err(error.into())
    }

    fn is_ok(&self, _: U) -> bool {
        self.is_ok()
    }
}

/// How an annotated function reports that it was skipped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot return the error of an advisory lock",
    label = "expected `Result<T, E>` with `T: Skipped` and `E: From<advisory_core::Error>`"
)]
pub trait SkippedOutcome<U>: Outcome<U> {
    fn skip(_: U) -> Self;
}

impl<T: Skipped, E: From<Error>, U> SkippedOutcome<U> for Result<T, E> {
    fn skip(_: U) -> Self {
        Ok(T::skipped())
    }
}

/// Where an annotated function takes its lock.
#[diagnostic::on_unimplemented(
    message = "`#[advisory]` cannot lock on `{Self}`",
    label = "expected a pool, or `&mut` of a transaction or a connection",
    note = "a `LockSession` holds session locks: `scope = session`",
    note = "sea-orm's types need the feature `sea-orm` of `advisory-core`"
)]
pub trait Target {
    type Scope;

    /// Acquires the lock around the body; an error if it is not granted in time.
    fn enter(
        self,
        lock: &AdvisoryLock,
        body: Body,
    ) -> impl Future<Output = Result<Self::Scope, Error>> + Send;

    /// Acquires the lock; `None` if it is not granted in time.
    fn try_enter(
        self,
        lock: &AdvisoryLock,
        body: Body,
    ) -> impl Future<Output = Result<Option<Self::Scope>, Error>> + Send;

    /// Acquires the lock and marks the period; `None` if the period is done, or if the lock is not
    /// granted in time and the function skips.
    fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> impl Future<Output = Result<Option<Self::Scope>, Error>> + Send;

    /// Acquires the lock of a job, whose period is looked at afterwards; `None` if it is not
    /// granted in time and the function skips.
    fn enter_periodic(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> impl Future<Output = Result<Option<Self::Scope>, Error>> + Send
    where
        Self: Sized + Send,
        Self::Scope: Send,
    {
        async move {
            lock.check()?;
            if skips {
                self.try_enter(lock.lock(), body).await
            } else {
                self.enter(lock.lock(), body).await.map(Some)
            }
        }
    }
}

impl Target for &PgPool {
    type Scope = PoolScope;

    async fn enter(self, lock: &AdvisoryLock, body: Body) -> Result<PoolScope, Error> {
        let transaction = acquire(lock, NewTransaction(self, body)).await?;
        Ok(PoolScope::new(lock, self, transaction))
    }

    async fn try_enter(self, lock: &AdvisoryLock, body: Body) -> Result<Option<PoolScope>, Error> {
        let transaction = try_acquire(lock, NewTransaction(self, body)).await?;
        Ok(transaction.map(|transaction| PoolScope::new(lock, self, transaction)))
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> Result<Option<Self::Scope>, Error> {
        let Some(mut scope) = self.enter_periodic(lock, body, skips).await? else {
            return Ok(None);
        };
        if lock.claim(scope.transaction()).await? {
            return Ok(Some(scope));
        }
        scope.finish(false).await?;
        Ok(None)
    }
}

impl Target for &mut PgTransaction<'_> {
    type Scope = CallerScope;

    async fn enter(self, lock: &AdvisoryLock, _body: Body) -> Result<CallerScope, Error> {
        lock.acquire_xact(self).await.map(|()| CallerScope)
    }

    async fn try_enter(
        self,
        lock: &AdvisoryLock,
        _body: Body,
    ) -> Result<Option<CallerScope>, Error> {
        let granted = lock.try_acquire_xact(self).await?;
        Ok(granted.then_some(CallerScope))
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        _body: Body,
        skips: bool,
    ) -> Result<Option<CallerScope>, Error> {
        let is_due = if skips {
            lock.try_acquire_xact(self).await?
        } else {
            lock.acquire_xact(self).await?
        };
        Ok(is_due.then_some(CallerScope))
    }
}

impl<'c> Target for &'c mut PgConnection {
    type Scope = ConnectionScope<'c, PgConnection>;

    async fn enter(self, lock: &AdvisoryLock, _body: Body) -> Result<Self::Scope, Error> {
        ConnectionScope::enter(self, lock).await
    }

    async fn try_enter(
        self,
        lock: &AdvisoryLock,
        _body: Body,
    ) -> Result<Option<Self::Scope>, Error> {
        ConnectionScope::try_enter(self, lock).await
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> Result<Option<Self::Scope>, Error> {
        match self.enter_periodic(lock, body, skips).await? {
            Some(scope) => claim(scope, lock).await,
            None => Ok(None),
        }
    }
}

impl<'c> Target for &'c mut PoolConnection<Postgres> {
    type Scope = ConnectionScope<'c, PoolConnection<Postgres>>;

    async fn enter(self, lock: &AdvisoryLock, _body: Body) -> Result<Self::Scope, Error> {
        ConnectionScope::enter(self, lock).await
    }

    async fn try_enter(
        self,
        lock: &AdvisoryLock,
        _body: Body,
    ) -> Result<Option<Self::Scope>, Error> {
        ConnectionScope::try_enter(self, lock).await
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> Result<Option<Self::Scope>, Error> {
        match self.enter_periodic(lock, body, skips).await? {
            Some(scope) => claim(scope, lock).await,
            None => Ok(None),
        }
    }
}

/// Marks the period on the caller's connection; `None` if it is done, and the lock is released.
async fn claim<'c, C: AsMut<PgConnection> + Send>(
    mut scope: ConnectionScope<'c, C>,
    lock: &PeriodicLock,
) -> Result<Option<ConnectionScope<'c, C>>, Error> {
    if lock.claim(scope.connection().as_mut()).await? {
        return Ok(Some(scope));
    }
    scope.finish(false).await?;
    Ok(None)
}

/// Where an annotated function takes a session lock.
#[diagnostic::on_unimplemented(
    message = "`#[advisory(scope = session)]` cannot lock on `{Self}`",
    label = "expected a pool or a `LockSession`: a session lock has a session of its own"
)]
pub trait SessionTarget {
    fn in_session(self) -> InSession;
}

/// All such functions of a pool share one session.
impl SessionTarget for &PgPool {
    fn in_session(self) -> InSession {
        InSession(Ok(LockSession::of_pool(self)))
    }
}

impl SessionTarget for &LockSession {
    fn in_session(self) -> InSession {
        InSession(Ok(self.clone()))
    }
}

/// The session in which an annotated function takes its lock, or why there is none.
#[derive(Debug)]
pub struct InSession(Result<LockSession, Error>);

impl Target for InSession {
    type Scope = SessionScope;

    async fn enter(self, lock: &AdvisoryLock, _body: Body) -> Result<SessionScope, Error> {
        lock.acquire(&self.0?).await.map(SessionScope::new)
    }

    async fn try_enter(
        self,
        lock: &AdvisoryLock,
        _body: Body,
    ) -> Result<Option<SessionScope>, Error> {
        let guard = lock.try_acquire(&self.0?).await?;
        Ok(guard.map(SessionScope::new))
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> Result<Option<SessionScope>, Error> {
        let session = self.0?;
        let in_session = session.in_session();
        let Some(mut scope) = in_session.enter_periodic(lock, body, skips).await? else {
            return Ok(None);
        };
        let Some(fence) = lock.begin(session.pool(), &mut scope.guard).await? else {
            scope.finish(true).await?;
            return Ok(None);
        };
        scope.run = Some(Box::new((session.pool().clone(), lock.clone(), fence)));
        Ok(Some(scope))
    }
}

/// The body runs while a session holds the lock.
#[derive(Debug)]
pub struct SessionScope {
    guard: LockSessionGuard,
    /// A job that runs once per period, and the fencing token of this run.
    run: Option<Box<(PgPool, PeriodicLock, i64)>>,
}

impl SessionScope {
    fn new(guard: LockSessionGuard) -> Self {
        Self { guard, run: None }
    }

    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        self.guard.until_lost(body)
    }

    /// Marks the period, if there is one, and releases the lock. The error of a failed body matters
    /// more than that of the release.
    pub async fn finish(mut self, succeeded: bool) -> Result<(), Error> {
        let is_marked = match self.run {
            Some(run) if succeeded => {
                let (pool, lock, fence) = *run;
                lock.finish(&pool, &mut self.guard, fence)
                    .await
                    .map(|()| true)
            }
            _ => Ok(false),
        };
        let released = self.guard.release().await;
        match is_marked {
            Ok(false) if succeeded => released,
            // What is marked stays marked.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What `on = …` accepts: a pool or a connection after `Depth` dereferences.
#[diagnostic::on_unimplemented(
    message = "`#[advisory]` cannot lock on `{Self}`",
    label = "expected a pool, a transaction or a connection, or a pointer to one",
    note = "a `PgPool`, a `PgTransaction`, a `PgConnection` and a `PoolConnection<Postgres>` can be \
            locked on, a type parameter cannot",
    note = "sea-orm's types need the feature `sea-orm` of `advisory-core`"
)]
pub trait Place<Depth> {
    type Proof: Default;
}

#[diagnostic::do_not_recommend]
impl Place<()> for PgPool {
    type Proof = Proof;
}

#[diagnostic::do_not_recommend]
impl Place<()> for LockSession {
    type Proof = Proof;
}

#[diagnostic::do_not_recommend]
impl Place<()> for PgConnection {
    type Proof = Proof;
}

#[diagnostic::do_not_recommend]
impl<T: Deref<Target: Place<Depth>> + ?Sized, Depth> Place<(Depth,)> for T {
    type Proof = <T::Target as Place<Depth>>::Proof;
}

/// Without a pool or a connection there the proof has no type, so rustc reports nothing further.
pub fn prove<T: Place<Depth> + ?Sized, Depth>(_: &T) -> T::Proof {
    T::Proof::default()
}

/// An index that finds a pool, a transaction or a connection behind pointers.
#[derive(Debug, Default)]
pub struct Proof;

impl Proof {
    #[must_use]
    pub fn get(self) -> Self {
        self
    }
}

impl Index<Proof> for PgPool {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl Index<Proof> for LockSession {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl Index<Proof> for PgTransaction<'_> {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl IndexMut<Proof> for PgTransaction<'_> {
    fn index_mut(&mut self, _: Proof) -> &mut Self {
        self
    }
}

impl Index<Proof> for PgConnection {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl IndexMut<Proof> for PgConnection {
    fn index_mut(&mut self, _: Proof) -> &mut Self {
        self
    }
}

impl Index<Proof> for PoolConnection<Postgres> {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl IndexMut<Proof> for PoolConnection<Postgres> {
    fn index_mut(&mut self, _: Proof) -> &mut Self {
        self
    }
}

/// Lets method lookup borrow a pool or a `LockSession`.
pub trait OnPool {
    fn pool_or_connection(&self) -> &Self {
        self
    }
}

/// Lets method lookup borrow a transaction or a connection.
pub trait OnConnection {
    fn pool_or_connection(&mut self) -> &mut Self {
        self
    }
}

impl OnPool for PgPool {}
impl OnPool for LockSession {}
impl OnConnection for PgTransaction<'_> {}
impl OnConnection for PgConnection {}
impl OnConnection for PoolConnection<Postgres> {}

/// The body runs while a transaction of our own holds the lock, inside the transaction or outside.
#[derive(Debug)]
pub struct PoolScope {
    held: Held,
    response_timeout: Duration,
    transaction: OwnTransaction,
    _hold: Hold,
}

impl PoolScope {
    fn new(lock: &AdvisoryLock, pool: &PgPool, transaction: OwnTransaction) -> Self {
        Self {
            held: Held::on_pool(lock.id(), pool),
            response_timeout: lock.response_limit(),
            transaction,
            _hold: Hold::start(lock.id(), Scope::NewTransaction),
        }
    }

    /// What the body knows that it runs under.
    pub fn held(&self) -> Held {
        self.held.clone()
    }

    /// For a body inside the transaction, whose statements fail if it is lost.
    pub fn transaction(&mut self) -> &mut PgTransaction<'static> {
        self.transaction.get()
    }

    /// For a body outside the transaction.
    pub fn until_lost<F: Future>(
        &mut self,
        body: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        let lost = transaction_lost(self.response_timeout, self.transaction.get());
        let held = self.held.clone();
        held.around(until_lost(self.held.lock(), lost, body))
    }

    /// Commits, or rolls back.
    pub async fn finish(self, commit: bool) -> Result<(), Error> {
        self.transaction.finish(self.held.lock(), commit).await
    }
}

/// The body runs in the caller's transaction.
#[derive(Debug)]
pub struct CallerScope;

impl CallerScope {
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
