//! A lock in a session of its own.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use sqlx::Acquire as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool};
use tokio::sync::OwnedSemaphorePermit;

use super::attempt::{Attempt, TryOnce, acquire, try_acquire};
use super::lock_session::OnLockSession;
use super::queue::Body;
use crate::error::{Error, Holder};
use crate::lock::{AdvisoryLock, ScopedSetting, Wait};
use crate::lock_session::{LockSession, LockSessionGuard};
use crate::nesting::Held;
use crate::on_drop::{DiscardOnDrop, discard};
use crate::probe::Capabilities;
use crate::session::{Backend, HeldLock, Liveness, SessionGuard};
use crate::sql::send::{send, send_for_row, send_wait};
use crate::sql::session::{self, HolderSettings, LockHolder, LockLevel};
use crate::sql::tcp_keepalive::TcpKeepalive;
use crate::sql::{granted, sqlstate, transaction};
use crate::telemetry::Scope;
use crate::time_bounds::PROBE_LIMIT;

impl AdvisoryLock {
    /// Waits for the lock in a session of its own, a connection of the pool, which holds it until
    /// it is released.
    ///
    /// It is for work that is too long for a transaction, or that calls other systems: on the
    /// server there is only an idle connection meanwhile. One round trip. The connection counts
    /// against the pool until the lock is released, and then returns to it. While it holds the
    /// lock, its `idle_session_timeout` is off, and the server checks every 500 ms whether this
    /// client is still there, in the middle of a statement too.
    ///
    /// On a [`LockSession`], any number of locks share one connection beside the pool: `acquire`
    /// then returns a [`LockSessionGuard`], and its type says what differs.
    ///
    /// Behind a pooler in transaction mode, an idle transaction holds the lock, and keeps a server
    /// connection of the pooler for as long. It holds up neither `VACUUM` nor `CREATE INDEX
    /// CONCURRENTLY`, and no timeout of the server ends it. The guard's
    /// [`connection`](SessionGuard::connection) is refused there.
    ///
    /// Over TCP, the server's side of the connection has keepalives while it holds the lock: if
    /// this machine vanishes, the lock is free after the
    /// [`keepalive_interval`](Self::keepalive_interval) and the
    /// [`response_timeout`](Self::response_timeout), rounded up to seconds.
    ///
    /// The session can end before the work does: see [`SessionGuard::until_lost`].
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn sync() {}
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let guard = AdvisoryLock::new("nightly").acquire(pool).await?;
    /// guard.until_lost(sync()).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin). After [`Error::NotAcquired`] nothing is held: the wait is for a
    /// transaction lock, which ends with its timeout, and which the session takes over only when it
    /// is granted. After any other error the connection is closed. [`Error::Unsupported`] if the
    /// pool's connections lead to different servers, or to a pooler in statement mode.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin): dropping the future closes its connection. The pool's slot is
    /// free at once, and within two seconds the server neither holds nor waits for the lock.
    pub async fn acquire<S>(&self, sessions: &S) -> Result<S::Guard, Error>
    where
        S: SessionSource + ?Sized,
    {
        sessions.acquire(self).await
    }

    /// Takes the lock in a session of its own; `None` if the lock is not granted in time.
    ///
    /// If no wait is set, it does not wait. Otherwise as [`acquire`](Self::acquire).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let Some(guard) = AdvisoryLock::new("nightly").try_acquire(pool).await? else {
    ///     return Ok(()); // another instance does it
    /// };
    /// // …
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but never [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn try_acquire<S>(&self, sessions: &S) -> Result<Option<S::Guard>, Error>
    where
        S: SessionSource + ?Sized,
    {
        sessions.try_acquire(self).await
    }
}

/// Where a session lock is held: a [`PgPool`], one of whose connections holds it, or a
/// [`LockSession`], which holds any number of locks on one connection; or a pointer to one. With
/// the feature `sea-orm`, a `DatabaseConnection` of sea-orm's is its pool.
///
/// It cannot be implemented outside this crate.
#[diagnostic::on_unimplemented(
    message = "a session lock cannot be held on `{Self}`",
    label = "expected a `PgPool` or a `LockSession`",
    note = "a lock in your own transaction is taken with `acquire_xact`"
)]
pub trait SessionSource: Sync + sealed::Sealed {
    /// The guard of a lock.
    type Guard: HeldLock;

    #[doc(hidden)]
    fn pool_of(&self) -> Result<&PgPool, Error>;

    #[doc(hidden)]
    fn acquire(
        &self,
        lock: &AdvisoryLock,
    ) -> impl Future<Output = Result<Self::Guard, Error>> + Send;

    #[doc(hidden)]
    fn try_acquire(
        &self,
        lock: &AdvisoryLock,
    ) -> impl Future<Output = Result<Option<Self::Guard>, Error>> + Send;
}

pub(super) mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for PgPool {}

impl SessionSource for PgPool {
    type Guard = SessionGuard;

    fn pool_of(&self) -> Result<&PgPool, Error> {
        Ok(self)
    }

    async fn acquire(&self, lock: &AdvisoryLock) -> Result<SessionGuard, Error> {
        acquire(lock, Session(self, Body::Unknown)).await
    }

    async fn try_acquire(&self, lock: &AdvisoryLock) -> Result<Option<SessionGuard>, Error> {
        try_acquire(lock, Session(self, Body::Unknown)).await
    }
}

impl sealed::Sealed for LockSession {}

impl SessionSource for LockSession {
    type Guard = LockSessionGuard;

    fn pool_of(&self) -> Result<&PgPool, Error> {
        Ok(self.pool())
    }

    async fn acquire(&self, lock: &AdvisoryLock) -> Result<LockSessionGuard, Error> {
        acquire(lock, OnLockSession(self)).await
    }

    async fn try_acquire(&self, lock: &AdvisoryLock) -> Result<Option<LockSessionGuard>, Error> {
        try_acquire(lock, OnLockSession(self)).await
    }
}

macro_rules! pointer {
    ($($pointer:ty),+) => {$(
        impl<S: SessionSource + ?Sized> sealed::Sealed for $pointer {}

        impl<S: SessionSource + Send + ?Sized> SessionSource for $pointer {
            type Guard = S::Guard;

            fn pool_of(&self) -> Result<&PgPool, Error> {
                S::pool_of(self)
            }

            async fn acquire(&self, lock: &AdvisoryLock) -> Result<S::Guard, Error> {
                S::acquire(self, lock).await
            }

            async fn try_acquire(&self, lock: &AdvisoryLock) -> Result<Option<S::Guard>, Error> {
                S::try_acquire(self, lock).await
            }
        }
    )+};
}
pointer!(&S, Arc<S>, Box<S>);

/// The scope of a lock in a session of its own.
pub(crate) struct Session<'p>(pub(crate) &'p PgPool, pub(crate) Body);

impl TryOnce for Session<'_> {
    const SCOPE: Scope = Scope::Session;
    const SETTINGS: &'static [ScopedSetting] = &[
        ScopedSetting::KeepaliveInterval,
        ScopedSetting::AtLeast,
        ScopedSetting::TagSession,
    ];
    type Granted = SessionGuard;

    fn pool(&self) -> Option<PgPool> {
        Some(self.0.clone())
    }

    fn body(&self) -> Option<Body> {
        Some(self.1)
    }

    fn keep(guard: &mut SessionGuard, place: OwnedSemaphorePermit) {
        guard.keep(place);
    }

    async fn try_once(&mut self, attempt: &Attempt<'_>) -> Result<Option<SessionGuard>, Error> {
        match self.lock_once(attempt, false).await {
            // Other code has left an aborted transaction in the pool, which refuses every message.
            // That connection is closed now, but there may be more of them.
            Err(Error::Database(error)) if sqlstate::is_aborted_before(&error) => {
                self.lock_once(attempt, true).await
            }
            locked => locked,
        }
    }

    async fn refused(&mut self, attempt: &Attempt<'_>) -> Result<Vec<Holder>, Error> {
        Ok(attempt.holders_via(self.0).await)
    }
}

impl Session<'_> {
    async fn lock_once(
        &self,
        attempt: &Attempt<'_>,
        roll_back_first: bool,
    ) -> Result<Option<SessionGuard>, Error> {
        let (capabilities, options) = (Capabilities::of(self.0), self.0.connect_options());
        let mut session = attempt.check_out_listener(self.0).await?;
        if roll_back_first {
            let rolled_back = send(session.acquire().await?, transaction::ROLLBACK);
            attempt.within(Wait::No, rolled_back).await?;
        }
        let locked = async move {
            let locked = lock_session(attempt, &capabilities, &options, &mut session).await;
            (session, locked)
        };
        let (session, locked) = DiscardOnDrop::new(locked).await;
        match locked {
            Ok(Some(holder)) => Ok(Some(guard(attempt.lock(), self.0, session, holder, None))),
            Ok(None) => Ok(None),
            // After any error, the session may hold the lock.
            Err(error) => {
                discard(session);
                Err(error)
            }
        }
    }
}

/// The guard of a lock. `held_with` is dropped when the lock is released.
pub(super) fn guard(
    lock: &AdvisoryLock,
    pool: &PgPool,
    session: PgListener,
    holder: LockHolder,
    held_with: Option<Box<dyn Any + Send + Sync>>,
) -> SessionGuard {
    let backend = Backend::new(lock, pool, holder.pid);
    let liveness = Liveness::new(lock, session, holder, held_with);
    let held = Held::on_pool(lock.id(), pool);
    SessionGuard::new(held, liveness, backend, lock.keep_until())
}

/// Locks in a session. The first time on a pool, it finds out what can hold the lock, and checks
/// that the lock is held. Returns what holds it, or `None` if the lock was not granted.
async fn lock_session(
    attempt: &Attempt<'_>,
    capabilities: &Capabilities,
    options: &PgConnectOptions,
    session: &mut PgListener,
) -> Result<Option<LockHolder>, Error> {
    let lock = attempt.lock();
    let left = attempt.deadline.left();
    let limit = match left {
        Wait::For(left) => left.min(PROBE_LIMIT),
        _ => PROBE_LIMIT,
    };
    let level = capabilities.lock_level(lock, session, options, left);
    let level = attempt.within(Wait::For(limit), level).await?;
    let settings = holder_settings(lock, level, capabilities);
    let wait = attempt.wait();
    // A free slot is taken without the statement that would wait for one.
    if wait != Wait::No && lock.id().semaphore().is_some() {
        let (no, settings) = (Wait::No, &settings);
        let tried = ask_session(attempt, no, no, settings, capabilities, session);
        if let Some(holder) = tried.await? {
            return Ok(Some(holder));
        }
    }
    ask_session(attempt, wait, wait, &settings, capabilities, session).await
}

pub(super) fn holder_settings(
    lock: &AdvisoryLock,
    level: LockLevel,
    capabilities: &Capabilities,
) -> HolderSettings {
    let keepalive = TcpKeepalive::of(lock.keepalive(), lock.response_limit());
    HolderSettings::new(
        level,
        capabilities.client_check(),
        &keepalive,
        lock.session_tag(),
    )
}

/// Sends the message that takes the lock, and reads its answer, which has to come within the
/// response timeout after `limit`.
pub(super) async fn ask_session(
    attempt: &Attempt<'_>,
    wait: Wait,
    limit: Wait,
    settings: &HolderSettings,
    capabilities: &Capabilities,
    session: &mut PgListener,
) -> Result<Option<LockHolder>, Error> {
    let lock = attempt.lock();
    let message = match wait {
        Wait::No => session::try_lock(lock.id(), settings),
        wait => session::lock(lock.id(), wait, settings),
    };
    let conn = session.acquire().await?;
    let answer = send_wait(conn, wait, attempt.mark(&message));
    let rows = match attempt.within(limit, answer).await {
        Ok(rows) => rows,
        Err(error) if sqlstate::is_lock_timeout(&error) => return Ok(None),
        Err(error) => return Err(capabilities.failure(error, lock.id())),
    };
    let holder = match rows {
        Some(rows) if !granted(&rows)? => {
            if settings.level() == LockLevel::Transaction {
                let ended = roll_back(capabilities, conn);
                attempt.within(Wait::No, ended).await?;
            }
            return Ok(None);
        }
        Some(rows) => LockHolder::read(lock.id(), settings, &rows)?,
        None => {
            let row = send_for_row(&mut *conn, session::ask_again(lock.id(), settings));
            let row = attempt.within(Wait::No, row).await?;
            LockHolder::asked(lock.id(), settings, &row)?
        }
    };
    capabilities.check_lock(lock, conn).await?;
    Ok(Some(holder))
}

/// Ends the transaction of a refused question, which can still say what bounds the next one.
async fn roll_back(
    capabilities: &Capabilities,
    conn: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    if capabilities.lock_timeout().is_none() {
        let row = send_for_row(&mut *conn, session::lock_timeout()).await?;
        capabilities.note_lock_timeout(session::read_lock_timeout(&row)?);
    }
    send(conn, transaction::ROLLBACK).await.map(drop)
}
