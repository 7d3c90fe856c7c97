use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Acquire as _, AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::abandon::{SettleOnDrop, close, poll_once, settle};
use crate::executor::ready;
use crate::sql::{session, state};
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
///   shorter, for an answer that does not come: 10 seconds if not set.
///
/// It does so while [`lost`](Self::lost) or [`until_lost`](Self::until_lost) is awaited. What must not be done twice belongs
/// under the latter. The moments between the loss and its notice remain: what cannot bear them needs a transaction
/// lock, whose writes fail with their session.
#[must_use = "the lock is released when the guard is dropped"]
pub struct SessionGuard {
    lock: AdvisoryLock,
    /// Taken by what ends the guard.
    session: Option<Mutex<PgListener>>,
    lost: AtomicBool,
}

impl SessionGuard {
    pub(crate) fn new(lock: AdvisoryLock, session: PgListener) -> Self {
        Self {
            lock,
            session: Some(Mutex::new(session)),
            lost: AtomicBool::new(false),
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
    /// # Errors
    ///
    /// [`Error::Lost`] when the session is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is sent, so nothing changes. A statement of yours that is dropped goes on on the server, and what is done
    /// next with the guard waits for it: its release for a second, after which the connection is closed.
    pub async fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        if self.is_lost() {
            return Err(self.loss());
        }
        Ok(self.session_mut().acquire().await?)
    }

    /// Releases the lock, and gives the connection back to its pool. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock was not held any more: the session had ended, or something else has unlocked it. When the
    /// network is silent it is told after the interval of [`AdvisoryLock::probing`], or a second if that is shorter.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets the release go on in the background; if it is not done after a second, the connection is
    /// closed, which releases the lock as well.
    pub async fn release(mut self) -> Result<(), Error> {
        if self.is_lost() {
            return Err(self.loss());
        }
        let release = release(self.lock.clone(), self.take_session());
        SettleOnDrop::new(Box::pin(release)).await
    }

    /// Resolves when the session is gone, and the lock with it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the lock stays held, and the next call goes on watching.
    pub async fn lost(&self) {
        let mut session = self.session().lock().await;
        while !self.was_lost() {
            if !is_alive(&mut session, self.lock.probe_interval()).await {
                self.lost.store(true, Ordering::Release);
            }
        }
    }

    /// Whether the session is known to be gone. Looks at the socket, but asks nobody: a network that went silent does not show.
    pub fn is_lost(&self) -> bool {
        // Reading the socket takes the runtime that it belongs to.
        if !self.was_lost() && Handle::try_current().is_ok() {
            let _ = poll_once(self.lost());
        }
        self.was_lost()
    }

    /// Runs a future for as long as the session lives.
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

    fn session(&self) -> &Mutex<PgListener> {
        self.session.as_ref().expect(TAKEN)
    }

    fn session_mut(&mut self) -> &mut PgListener {
        self.session.as_mut().expect(TAKEN).get_mut()
    }

    fn take_session(&mut self) -> PgListener {
        self.session.take().expect(TAKEN).into_inner()
    }

    fn was_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn loss(&self) -> Error {
        Error::Lost {
            lock: Box::new(self.lock.for_error()),
        }
    }
}

/// What takes the session is the last to see it.
const TAKEN: &str = "BUG: the session was taken before the guard's end";

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut guard = f.debug_struct("SessionGuard");
        guard
            .field("lock", &self.lock)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        match self.session.take().map(Mutex::into_inner) {
            None => {}
            Some(session) if self.was_lost() => close(session),
            Some(session) => settle(Box::pin(release(self.lock.clone(), session))),
        }
    }
}

/// How long the server may take to answer: an interval that is shorter than a busy server's breath would be taken for a loss.
fn patience(interval: Duration) -> Duration {
    interval.max(Duration::from_secs(1))
}

/// Waits for the end of the session, for one interval without asking and, if need be, for an answer after having asked.
async fn is_alive(session: &mut PgListener, interval: Duration) -> bool {
    match timeout(interval, session.try_recv()).await {
        // Somebody listens on this connection: not our business, but a sign of life.
        Ok(Ok(Some(_))) => true,
        Ok(Ok(None) | Err(_)) => false,
        Err(_) => matches!(timeout(patience(interval), ping(session)).await, Ok(Ok(()))),
    }
}

async fn ping(session: &mut PgListener) -> Result<(), sqlx::Error> {
    session.acquire().await?.ping().await
}

async fn release(lock: AdvisoryLock, mut session: PgListener) -> Result<(), Error> {
    let patience = patience(lock.probe_interval());
    let lost = || Error::Lost {
        lock: Box::new(lock.for_error()),
    };
    match timeout(patience, unlock(&lock, &mut session)).await {
        Ok(Ok(Released {
            held: true,
            in_transaction: false,
        })) => Ok(()),
        Ok(Ok(Released {
            held,
            in_transaction,
        })) => {
            if in_transaction {
                tracing::warn!(%lock, "released inside an open transaction, which is rolled back: commit before you release");
            }
            close(session);
            if held { Ok(()) } else { Err(lost()) }
        }
        // The server has answered, so the session still lives, in a transaction that was aborted; it ends here.
        Ok(Err(error)) if state::is_answer(&error) && !state::is_end_of_session(&error) => {
            close(session);
            Ok(())
        }
        Ok(Err(_)) | Err(_) => {
            close(session);
            Err(lost())
        }
    }
}

struct Released {
    held: bool,
    in_transaction: bool,
}

async fn unlock(lock: &AdvisoryLock, session: &mut PgListener) -> Result<Released, sqlx::Error> {
    let message = session::unlock(lock);
    let conn = session.acquire().await?;
    ready(conn).await?;
    let row = conn
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    Ok(Released {
        held: row.try_get(0)?,
        in_transaction: row.try_get(1)?,
    })
}
