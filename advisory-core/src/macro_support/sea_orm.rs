//! sea-orm's transactions and connections as what an annotated function locks on.

use std::future::Future;
use std::ops::Index;

use sea_orm::{DatabaseConnection, DatabaseTransaction};

use super::{CallerScope, InSession, OnPool, Place, PoolScope, Proof, SessionTarget, Target};
use crate::acquire::sea_orm::{NewSeaOrmTransaction, OwnSeaOrmTransaction, claim, pool};
use crate::acquire::{Body, acquire, try_acquire};
use crate::error::Error;
use crate::lock::AdvisoryLock;
use crate::lock_session::LockSession;
use crate::nesting::Held;
use crate::period::PeriodicLock;
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

impl Target for &DatabaseTransaction {
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
        body: Body,
        skips: bool,
    ) -> Result<Option<CallerScope>, Error> {
        let scope = self.enter_periodic(lock, body, skips).await?;
        let is_due = scope.is_some() && claim(self, lock).await?;
        Ok(is_due.then_some(CallerScope))
    }
}

/// A body inside the transaction gets sea-orm's. Around any other body, a transaction on the pool
/// holds the lock.
impl Target for &DatabaseConnection {
    type Scope = SeaOrmScope;

    async fn enter(self, lock: &AdvisoryLock, body: Body) -> Result<SeaOrmScope, Error> {
        if body != Body::Inside {
            let scope = Target::enter(pool(self)?, lock, body).await?;
            return Ok(SeaOrmScope::Outside(scope));
        }
        let scope = NewSeaOrmTransaction::new(self)?;
        let held = Held::on_pool(lock.id(), scope.pool);
        let transaction = acquire(lock, scope).await?;
        Ok(SeaOrmScope::inside(held, transaction))
    }

    async fn try_enter(
        self,
        lock: &AdvisoryLock,
        body: Body,
    ) -> Result<Option<SeaOrmScope>, Error> {
        if body != Body::Inside {
            let scope = Target::try_enter(pool(self)?, lock, body).await?;
            return Ok(scope.map(SeaOrmScope::Outside));
        }
        let scope = NewSeaOrmTransaction::new(self)?;
        let held = Held::on_pool(lock.id(), scope.pool);
        let transaction = try_acquire(lock, scope).await?;
        Ok(transaction.map(|transaction| SeaOrmScope::inside(held, transaction)))
    }

    async fn enter_due(
        self,
        lock: &PeriodicLock,
        body: Body,
        skips: bool,
    ) -> Result<Option<SeaOrmScope>, Error> {
        if body != Body::Inside {
            let scope = Target::enter_due(pool(self)?, lock, body, skips).await?;
            return Ok(scope.map(SeaOrmScope::Outside));
        }
        let Some(scope) = self.enter_periodic(lock, body, skips).await? else {
            return Ok(None);
        };
        if claim(scope.transaction(), lock).await? {
            return Ok(Some(scope));
        }
        scope.finish(false).await?;
        Ok(None)
    }
}

impl SessionTarget for &DatabaseConnection {
    fn in_session(self) -> InSession {
        InSession(pool(self).map(LockSession::of_pool))
    }
}

#[diagnostic::do_not_recommend]
impl Place<()> for DatabaseConnection {
    type Proof = Proof;
}

impl Index<Proof> for DatabaseConnection {
    type Output = Self;

    fn index(&self, _: Proof) -> &Self {
        self
    }
}

impl OnPool for DatabaseConnection {}

/// The body runs while a transaction of our own holds the lock: inside it, or outside.
#[derive(Debug)]
pub enum SeaOrmScope {
    Inside(Inside),
    Outside(PoolScope),
}

/// A transaction of sea-orm's that holds the lock.
#[derive(Debug)]
pub struct Inside {
    held: Held,
    transaction: OwnSeaOrmTransaction,
    _hold: Hold,
}

impl SeaOrmScope {
    fn inside(held: Held, transaction: OwnSeaOrmTransaction) -> Self {
        Self::Inside(Inside {
            _hold: Hold::start(held.lock(), Scope::NewTransaction),
            held,
            transaction,
        })
    }

    /// What the body knows that it runs under.
    pub fn held(&self) -> Held {
        match self {
            Self::Inside(inside) => inside.held.clone(),
            Self::Outside(scope) => scope.held(),
        }
    }

    /// For a body inside the transaction, whose statements fail if it is lost.
    pub fn transaction(&self) -> &DatabaseTransaction {
        match self {
            Self::Inside(inside) => inside.transaction.get(),
            // The attribute enters with `Body::Inside` whenever it binds the transaction.
            Self::Outside(_) => unreachable!("BUG: the body is outside the transaction"),
        }
    }

    /// For a body outside the transaction.
    pub async fn until_lost<F: Future>(&mut self, body: F) -> Result<F::Output, Error> {
        // Boxed: an `async fn` would copy the body.
        let body = Box::pin(body);
        match self {
            Self::Inside(inside) => Ok(inside.held.clone().around(body).await),
            Self::Outside(scope) => scope.until_lost(body).await,
        }
    }

    /// Commits, or rolls back.
    pub async fn finish(self, commit: bool) -> Result<(), Error> {
        match self {
            Self::Inside(inside) => inside.transaction.finish(inside.held.lock(), commit).await,
            Self::Outside(scope) => scope.finish(commit).await,
        }
    }
}
