//! The guard of a lock that a session holds.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use sqlx::Acquire as _;
use sqlx::postgres::PgConnection;
use tokio::time::{Sleep, sleep_until};

use super::liveness::{Liveness, Sign, until_lost};
use super::release::release;
use crate::error::Error;
use crate::fencing::token;
use crate::lock::LockId;
use crate::lock::Wait;
use crate::nesting::Held;
use crate::on_drop::{FinishOnDrop, discard, finish_in_background};
use crate::sql::send::within;
use crate::sql::sqlstate;

/// A lock that a session holds, until it is released or the session ends.
///
/// [`release`](Self::release) releases the lock at once and reports whether it was still held.
/// Dropping the guard releases it too: in the background within a tokio runtime, by closing the
/// connection outside one.
///
/// # Loss
///
/// A session can end before its holder does: the server restarts or fails over, an administrator
/// terminates it, the network fails. Others can then take the lock at once, while the holder
/// carries on: there are two leaders. The guard notices:
///
/// - when the connection closes, at once, by reading its socket;
/// - when the network goes silent, after the
///   [`keepalive_interval`](crate::AdvisoryLock::keepalive_interval) and the
///   [`response_timeout`](crate::AdvisoryLock::response_timeout): 10 seconds if neither is set.
///   While a dropped statement still runs on the session, only a closed connection is noticed.
///
/// It does so while [`lost`](Self::lost) or [`until_lost`](Self::until_lost) is awaited, in one
/// long watch or in many short ones, and when [`is_lost`](Self::is_lost) is called. Work that must
/// not be done twice belongs under `until_lost`. The moments between the loss and its notice
/// remain: work that cannot bear them needs a transaction lock, whose writes fail with their
/// session.
#[must_use = "the lock is released when the guard is dropped"]
pub struct SessionGuard {
    lock: LockId,
    held: Held,
    /// Never locked across an await, so that no watcher keeps another from looking.
    state: Mutex<State>,
}

enum State {
    Held(Box<Liveness>),
    Lost,
    /// The guard has been released or dropped.
    Ended,
}

impl SessionGuard {
    pub(crate) fn new(held: Held, liveness: Liveness) -> Self {
        Self {
            lock: held.lock().clone(),
            held,
            state: Mutex::new(State::Held(Box::new(liveness))),
        }
    }

    /// Which lock it is.
    pub fn lock_id(&self) -> &LockId {
        &self.lock
    }

    /// The session that holds the lock, for statements.
    ///
    /// They run while the lock is held, and fail if the session is lost. Do not unlock or `DISCARD`
    /// there. End every transaction before the lock is released: the next holder does not see what
    /// was not committed.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut guard = AdvisoryLock::new("nightly").acquire(pool).await?;
    /// let analyze = sqlx::query("ANALYZE");
    /// analyze.execute(guard.connection().await?).await?;
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended.
    ///
    /// # Cancel safety
    ///
    /// At most a keepalive probe is sent, so nothing changes. A dropped statement continues on the
    /// server, and the next use of the guard waits for it. The release waits for a second; then the
    /// connection is closed, and the lock ends when the server notices. Locks that you take here by
    /// hand are yours to release.
    pub async fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        if self.is_lost() {
            return Err(Error::lost(&self.lock));
        }
        match self.state.get_mut().unwrap_or_else(PoisonError::into_inner) {
            State::Held(liveness) => Ok(liveness.session.acquire().await?),
            State::Lost | State::Ended => Err(Error::lost(&self.lock)),
        }
    }

    /// A number that is greater than any that was taken under the same lock before; see
    /// [`fencing_token`](crate::fencing_token) for its use and its source.
    ///
    /// One round trip, and a wait for the disk: when it returns, the record behind it is as durable
    /// as a commit, unless a transaction is open on the [`connection`](Self::connection).
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn put(file: &str, token: i64) {}
    /// let mut guard = AdvisoryLock::new("leader").acquire(pool).await?;
    /// let token = guard.fencing_token().await?;
    /// put("report.csv", token).await; // the store refuses a token lower than its last
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended or does not answer within the
    /// [`response_timeout`](crate::AdvisoryLock::response_timeout). [`Error::Unsupported`] if the
    /// position in the write-ahead log exceeds the range of a token.
    ///
    /// # Cancel safety
    ///
    /// As with a statement on the [`connection`](Self::connection).
    pub async fn fencing_token(&mut self) -> Result<i64, Error> {
        let limit = match &*self.state() {
            State::Held(liveness) => liveness.response_timeout,
            State::Lost | State::Ended => return Err(Error::lost(&self.lock)),
        };
        let token = token(self.connection().await?);
        match within(limit, Wait::No, token).await {
            Err(Error::Database(error)) if sqlstate::is_loss(&error) => {
                mark_lost(&mut self.state());
                Err(Error::lost(&self.lock))
            }
            token => token,
        }
    }

    /// Releases the lock, and returns the connection to its pool. One round trip.
    ///
    /// # Errors
    ///
    /// If a dropped statement still runs after a second, the connection is closed, and the result
    /// is `Ok` without an answer of the server. [`Error::Lost`] if the lock was not held any more:
    /// the session had ended, or other code has unlocked it. On a silent network it returns after
    /// the [`response_timeout`](crate::AdvisoryLock::response_timeout). [`Error::Database`] if the
    /// server answered with another error; the connection is closed then, and the lock is released.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the release continues in the background. If it takes longer than a
    /// second, the connection is closed, which releases the lock as well.
    pub async fn release(mut self) -> Result<(), Error> {
        // The liveness is not checked before: the answer to the release says more.
        match self.end() {
            State::Held(liveness) => FinishOnDrop::new(release(self.lock.clone(), liveness)).await,
            State::Lost | State::Ended => Err(Error::lost(&self.lock)),
        }
    }

    /// Resolves when the session has ended, and the lock with it.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn tick() {}
    /// let guard = AdvisoryLock::new("leader").acquire(pool).await?;
    /// loop {
    ///     tokio::select! {
    ///         () = guard.lost() => break,
    ///         () = tick() => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the lock stays held, and the next call continues to watch.
    pub async fn lost(&self) {
        let mut timer = None;
        poll_fn(|cx| self.poll_lost(&mut timer, cx)).await;
    }

    /// Whether the session is known to have ended. It looks at the socket, and at whether a
    /// response is overdue, but does not wait.
    ///
    /// It is not for a loop that never awaits: a runtime with one thread cannot read the response
    /// meanwhile, and the session would count as lost.
    pub fn is_lost(&self) -> bool {
        let mut state = self.state();
        let lost = match &mut *state {
            State::Held(liveness) => matches!(liveness.check(None), Sign::Lost),
            State::Lost => true,
            State::Ended => false,
        };
        if lost {
            mark_lost(&mut state);
        }
        lost
    }

    /// Runs a future while the session is alive.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn lead() {}
    /// loop {
    ///     let guard = AdvisoryLock::new("leader").acquire(pool).await?;
    ///     match guard.until_lost(lead()).await {
    ///         Err(error) if error.is_lost() => {} // another instance may lead now: wait again
    ///         done => return done,
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session ends first; the future is dropped then.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future; the lock stays held.
    pub fn until_lost<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        let held = self.held.clone();
        held.around(until_lost(&self.lock, self.lost(), future))
    }

    fn poll_lost(&self, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = {
                let mut state = self.state();
                let State::Held(liveness) = &mut *state else {
                    return Poll::Ready(());
                };
                match liveness.check(Some(cx.waker())) {
                    Sign::Alive(due) => due,
                    Sign::Lost => {
                        mark_lost(&mut state);
                        return Poll::Ready(());
                    }
                }
            };
            let Some(due) = due else {
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            timer.as_mut().reset(due);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) -> State {
        std::mem::replace(&mut *self.state(), State::Ended)
    }
}

/// Closes the rest of the session, which releases whatever it still holds.
fn mark_lost(state: &mut State) {
    if let State::Held(liveness) = std::mem::replace(state, State::Lost) {
        discard(liveness);
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut guard = f.debug_struct("SessionGuard");
        guard.field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        if let State::Held(liveness) = self.end() {
            finish_in_background(release(self.lock.clone(), liveness));
        }
    }
}
