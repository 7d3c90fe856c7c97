use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use sqlx::Acquire as _;
use sqlx::postgres::{PgConnection, PgListener};
use tokio::time::{Sleep, sleep_until};

use crate::abandon::{SettleOnDrop, close, settle};
use crate::fencing::token;
use crate::release::release;
use crate::sql::session::Kept;
use crate::sql::state;
use crate::vigil::{Sign, Vigil};
use crate::watch::until;
use crate::{AdvisoryLock, Error};

/// A lock that a session holds, until it is released or the session ends.
///
/// [`release`](Self::release) frees the lock at once and tells whether it was still held. Dropping the guard frees it too: in the
/// background within a tokio runtime, by closing the connection outside one.
///
/// # Loss
///
/// A session can end before its holder does: the server restarts or fails over, an administrator terminates it, a network goes away.
/// The lock is then free for others at once, while the holder carries on: two leaders. The guard notices:
///
/// - when the connection closes, at once, by reading its socket;
/// - when the network goes silent, after the interval of [`AdvisoryLock::probing`] and as long again, or a second if that is
///   shorter, for an answer that does not come: 10 seconds if not set. While a statement that was given up still runs on the
///   session, only a closed connection shows.
///
/// It does so while [`lost`](Self::lost) or [`until_lost`](Self::until_lost) is awaited, in one long watch or in many short ones,
/// and when [`is_lost`](Self::is_lost) is asked. What must not be done twice belongs under `until_lost`. The moments between
/// the loss and its notice remain: what cannot bear them needs a transaction lock, whose writes fail with their session.
#[must_use = "the lock is released when the guard is dropped"]
pub struct SessionGuard {
    lock: AdvisoryLock,
    /// Never locked across an await, so that nobody who watches keeps another from it.
    vigil: Mutex<State>,
}

enum State {
    Held(Box<Vigil>),
    Lost,
    /// The session is in the hands of what ends the guard.
    Ended,
}

impl SessionGuard {
    pub(crate) fn new(lock: AdvisoryLock, session: PgListener, kept: Kept) -> Self {
        let vigil = Box::new(Vigil::new(session, kept, lock.probe_interval()));
        Self {
            lock,
            vigil: Mutex::new(State::Held(vigil)),
        }
    }

    /// What is locked.
    pub fn lock(&self) -> &AdvisoryLock {
        &self.lock
    }

    /// The session that holds the lock, for statements.
    ///
    /// They run while the lock is held and, if the session is lost, fail. Do not unlock or `DISCARD` there, and end every
    /// transaction before the lock is released: others get the lock then, and do not see what was not committed.
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
    /// [`Error::Lost`] when the session is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is sent, so nothing changes. A statement of yours that is dropped goes on on the server, and what is done
    /// next with the guard waits for it: its release for a second, after which the connection is closed, and the lock goes with it
    /// as soon as the server notices. Locks that you take here by hand are yours to release.
    pub async fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        if self.is_lost() {
            return Err(self.lock.loss());
        }
        match self.vigil.get_mut().unwrap_or_else(PoisonError::into_inner) {
            State::Held(vigil) => Ok(vigil.session.acquire().await?),
            State::Lost | State::Ended => Err(self.lock.loss()),
        }
    }

    /// A number that is greater than any that was taken under the same lock before; see [`fencing_token`](crate::fencing_token)
    /// for what it is good for, and what it is made of.
    ///
    /// One round trip, and a wait for the disk: when it returns, the record behind it is as safe as a commit, unless a transaction
    /// is open on the [`connection`](Self::connection).
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
    /// [`Error::Lost`] when the session is gone.
    ///
    /// # Cancel safety
    ///
    /// As with a statement on the [`connection`](Self::connection).
    pub async fn fencing_token(&mut self) -> Result<i64, Error> {
        match token(self.connection().await?).await {
            Err(Error::Database(error)) if state::is_loss(&error) => {
                lose(&mut self.state());
                Err(self.lock.loss())
            }
            token => token,
        }
    }

    /// Releases the lock, and gives the connection back to its pool. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock was not held any more: the session had ended, or something else has unlocked it. When the
    /// network is silent it is told after the interval of [`AdvisoryLock::probing`], or a second if that is shorter.
    /// [`Error::Database`] if the server would not say; the connection is closed then, and the lock free.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets the release go on in the background; if it is not done after a second, the connection is
    /// closed, which releases the lock as well.
    pub async fn release(mut self) -> Result<(), Error> {
        // No look before: the answer to the release says more than any.
        match self.end() {
            State::Held(vigil) => {
                SettleOnDrop::new(Box::pin(release(self.lock.clone(), vigil))).await
            }
            State::Lost | State::Ended => Err(self.lock.loss()),
        }
    }

    /// Resolves when the session is gone, and the lock with it.
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
    /// Cancel safe: the lock stays held, and the next call goes on watching.
    pub async fn lost(&self) {
        let mut timer = None;
        poll_fn(|cx| self.poll_lost(&mut timer, cx)).await;
    }

    /// Whether the session is known to be gone. Looks at the socket, and at whether an answer is overdue, but waits for nothing.
    ///
    /// Not for a loop that never awaits: where the runtime has only one thread, it cannot read the answer meanwhile, which then
    /// counts as one that has not come.
    pub fn is_lost(&self) -> bool {
        let mut state = self.state();
        let gone = match &mut *state {
            State::Held(vigil) => matches!(vigil.look(None), Sign::Gone),
            State::Lost => true,
            State::Ended => false,
        };
        if gone {
            lose(&mut state);
        }
        gone
    }

    /// Runs a future for as long as the session lives.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn lead() {}
    /// loop {
    ///     let guard = AdvisoryLock::new("leader").acquire(pool).await?;
    ///     match guard.until_lost(lead()).await {
    ///         Err(error) if error.is_lost() => {} // somebody else leads; get in line again
    ///         done => return done,
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session goes first; the future is dropped then, wherever it is.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future; the lock stays held.
    pub fn until_lost<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Error>> {
        until(&self.lock, self.lost(), future)
    }

    fn poll_lost(&self, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = {
                let mut state = self.state();
                let State::Held(vigil) = &mut *state else {
                    return Poll::Ready(());
                };
                match vigil.look(Some(cx.waker())) {
                    Sign::Alive(due) => due,
                    Sign::Gone => {
                        lose(&mut state);
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
        self.vigil.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) -> State {
        std::mem::replace(&mut *self.state(), State::Ended)
    }
}

/// Closes what is left of the session: it is not to be used again, and whatever it holds is free then.
fn lose(state: &mut State) {
    if let State::Held(vigil) = std::mem::replace(state, State::Lost) {
        close(vigil);
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
        if let State::Held(vigil) = self.end() {
            settle(Box::pin(release(self.lock.clone(), vigil)));
        }
    }
}
