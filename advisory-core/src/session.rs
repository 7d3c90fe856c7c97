//! A lock that a session holds.

use sqlx::postgres::{PgListener, PgPool};
use sqlx::{Acquire as _, AssertSqlSafe, Executor as _};

use crate::abandon::{CloseOnDrop, close};
use crate::fitness::Fitness;
use crate::guard::SessionGuard;
use crate::mark::REACTION;
use crate::observe::observe;
use crate::patience::answer;
use crate::pool::{listener, refusal};
use crate::sql::session::{self, Kept};
use crate::sql::{acquired, state};
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

impl AdvisoryLock {
    /// Waits for the lock in a session of its own, a connection of the pool, which holds it until it is released.
    ///
    /// For work that is too long for a transaction, or that calls other systems: nothing is open on the server meanwhile but an
    /// idle connection. One round trip. The connection counts against the pool all the time, and goes back to it when
    /// the lock is released. While it holds the lock its `idle_session_timeout` is off, and the server looks every 500 ms whether
    /// this client is still there, in the middle of a statement too.
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
    /// As [`begin`](Self::begin). After [`Error::NotAcquired`] nothing is held: the wait is one for a transaction lock, which
    /// is gone with its timeout, and only then becomes the session's. After any other error the connection is closed.
    /// [`Error::Unsupported`] if the pool's connections are not sessions, because a pooler in transaction mode lends them out.
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin): dropping the future closes the connection. The pool has its place back at once, and within a
    /// second nobody holds or waits for the lock.
    pub async fn acquire(&self, pool: &PgPool) -> Result<SessionGuard, Error> {
        let deadline = Deadline::start(self.wait());
        let acquired = async {
            match open(self, pool, deadline).await? {
                Some(guard) => Ok(guard),
                None => Err(refusal(self, pool, deadline).await),
            }
        };
        observe(self, "session", acquired, |_| true).await
    }

    /// Takes the lock in a session of its own if it is to be had; `None` if not.
    ///
    /// If no wait is set, it does not wait. Otherwise as [`acquire`](Self::acquire).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let Some(guard) = AdvisoryLock::new("nightly").try_acquire(pool).await? else {
    ///     return Ok(()); // another instance is at it
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
    pub async fn try_acquire(&self, pool: &PgPool) -> Result<Option<SessionGuard>, Error> {
        try_acquire(self, pool, self.try_wait()).await
    }
}

/// Waits as it is told, and reports.
pub(crate) async fn try_acquire(
    lock: &AdvisoryLock,
    pool: &PgPool,
    wait: Wait,
) -> Result<Option<SessionGuard>, Error> {
    let acquired = open(lock, pool, Deadline::start(wait));
    observe(lock, "session", acquired, Option::is_some).await
}

async fn open(
    lock: &AdvisoryLock,
    pool: &PgPool,
    deadline: Deadline,
) -> Result<Option<SessionGuard>, Error> {
    let Some(interval) = lock.polling_interval() else {
        return attempt(lock, pool, deadline, None).await;
    };
    loop {
        let guard = attempt(lock, pool, deadline, Some(Wait::No)).await?;
        if guard.is_some() || !deadline.pause(interval).await {
            return Ok(guard);
        }
    }
}

/// One attempt. Without a wait of its own it waits for what is left.
async fn attempt(
    lock: &AdvisoryLock,
    pool: &PgPool,
    deadline: Deadline,
    wait: Option<Wait>,
) -> Result<Option<SessionGuard>, Error> {
    let fitness = Fitness::of(pool);
    let mut listener = listener(pool, deadline).await?;
    let asked = async move {
        let answer = ask(lock, &mut listener, &fitness, deadline, wait).await;
        (listener, answer)
    };
    let (listener, answer) = CloseOnDrop::new(Box::pin(asked)).await;
    match answer {
        Ok(Some(kept)) => Ok(Some(SessionGuard::new(lock.clone(), listener, kept))),
        Ok(None) => Ok(None),
        // Whatever it was, the session may hold the lock now, or not.
        Err(error) => {
            close(listener);
            Err(error)
        }
    }
}

/// Asks for the lock; the first time, whether the session is one, and whether the lock is held. What to keep, if it is held.
async fn ask(
    lock: &AdvisoryLock,
    listener: &mut PgListener,
    fitness: &Fitness,
    deadline: Deadline,
    wait: Option<Wait>,
) -> Result<Option<Kept>, Error> {
    let session = fitness.check_session(lock, listener, deadline);
    answer(lock, Wait::For(REACTION), session).await?;
    let wait = wait.unwrap_or_else(|| deadline.left());
    let message = match wait {
        Wait::No => session::try_lock(lock, fitness.platform()),
        wait => session::lock(lock, wait, fitness.platform()),
    };
    let conn = listener.acquire().await?;
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(message)));
    let rows = match answer(lock, wait, rows).await {
        Ok(rows) => rows,
        Err(error) if state::is_lock_timeout(&error) => return Ok(None),
        Err(error) => return Err(fitness.failure(error, lock)),
    };
    if !acquired(&rows)? {
        return Ok(None);
    }
    fitness.check_lock(lock, conn).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(Some(Kept::read(lock, first)?))
}
