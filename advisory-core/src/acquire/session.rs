//! A lock in a session of its own.

use std::future::Future;
use std::sync::Arc;

use sqlx::Acquire as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgRow};
use tokio::sync::OwnedSemaphorePermit;

use super::attempt::{Attempt, TryOnce, acquire, try_acquire};
use super::lock_session::OnLockSession;
use super::queue::Body;
use crate::error::{Error, Holder};
use crate::lock::{AdvisoryLock, LockId, ScopedSetting, Wait};
use crate::lock_session::{LockSession, LockSessionGuard};
use crate::nesting::Held;
use crate::on_drop::{DiscardOnDrop, discard};
use crate::probe::Capabilities;
use crate::session::{Backend, Liveness, SessionGuard};
use crate::sql::send::{send, send_for_row, send_wait};
use crate::sql::session::{self, Saved, ServerSetting};
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
    /// pool's connections are not sessions, because a pooler in transaction mode lends them out.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin): dropping the future closes its connection. The pool's slot is
    /// free at once, and within a second the server neither holds nor waits for the lock.
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
/// [`LockSession`], which holds any number of locks on one connection; or a pointer to one.
///
/// It cannot be implemented outside this crate.
#[diagnostic::on_unimplemented(
    message = "a session lock cannot be held on `{Self}`",
    label = "expected a `PgPool` or a `LockSession`",
    note = "a lock in your own transaction is taken with `acquire_xact`"
)]
pub trait SessionSource: Sync + sealed::Sealed {
    /// The guard of a lock.
    type Guard: Send;

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

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for PgPool {}

impl SessionSource for PgPool {
    type Guard = SessionGuard;

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
    const SETTINGS: &'static [ScopedSetting] =
        &[ScopedSetting::KeepaliveInterval, ScopedSetting::TagSession];
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
            Ok(Some((pid, saved))) => {
                let (lock, pool) = (attempt.lock(), self.0);
                let backend = Backend::new(lock, pool, pid);
                let liveness = Liveness::new(lock, session, saved);
                let held = Held::on_pool(lock.id(), pool);
                Ok(Some(SessionGuard::new(held, liveness, backend)))
            }
            Ok(None) => Ok(None),
            // After any error, the session may hold the lock.
            Err(error) => {
                discard(session);
                Err(error)
            }
        }
    }
}

/// Locks in a session. The first time on a pool, it checks that the connection is a session, and
/// that the lock is held. Returns the backend's process id and what the release needs, or `None`
/// if the lock was not granted.
async fn lock_session(
    attempt: &Attempt<'_>,
    capabilities: &Capabilities,
    options: &PgConnectOptions,
    session: &mut PgListener,
) -> Result<Option<(i32, Saved)>, Error> {
    let lock = attempt.lock();
    let left = attempt.deadline.left();
    let limit = match left {
        Wait::For(left) => left.min(PROBE_LIMIT),
        _ => PROBE_LIMIT,
    };
    let checked = capabilities.check_session(lock, session, options, left);
    attempt.within(Wait::For(limit), checked).await?;
    let wait = attempt.wait();
    let settings = session::settings(capabilities.client_check(), lock.session_tag());
    let conn = session.acquire().await?;
    // A free slot is taken without the statement that would wait for one.
    if wait != Wait::No && lock.id().semaphore().is_some() {
        let message = session::try_lock(lock.id(), &settings);
        let rows = send(&mut *conn, attempt.mark(&message));
        let rows = attempt.within(Wait::No, rows).await;
        let rows = rows.map_err(|error| capabilities.failure(error, lock.id()))?;
        if granted(&rows)? {
            let grant = read_grant(lock.id(), &settings, &rows)?;
            capabilities.check_lock(lock, conn).await?;
            return Ok(Some(grant));
        }
    }
    let message = match wait {
        Wait::No => session::try_lock(lock.id(), &settings),
        wait => session::lock(lock.id(), wait, &settings),
    };
    let answer = send_wait(conn, wait, attempt.mark(&message));
    let rows = match attempt.within(wait, answer).await {
        Ok(rows) => rows,
        Err(error) if sqlstate::is_lock_timeout(&error) => return Ok(None),
        Err(error) => return Err(capabilities.failure(error, lock.id())),
    };
    let grant = match rows {
        Some(rows) if !granted(&rows)? => return Ok(None),
        Some(rows) => read_grant(lock.id(), &settings, &rows)?,
        None => {
            let row = send_for_row(&mut *conn, session::ask_again(lock.id()));
            let row = attempt.within(Wait::No, row).await?;
            (
                session::pid(&row)?,
                Saved::kept(lock.id(), &settings, &row)?,
            )
        }
    };
    capabilities.check_lock(lock, conn).await?;
    Ok(Some(grant))
}

fn read_grant(
    lock: &LockId,
    settings: &[ServerSetting],
    rows: &[PgRow],
) -> Result<(i32, Saved), sqlx::Error> {
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok((session::pid(first)?, Saved::read(lock, settings, rows)?))
}
