//! The guard of a lock that a session holds.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Acquire as _;
use sqlx::postgres::{PgConnection, PgNotification, PgPool, PgRow};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep_until;

use super::backend::Backend;
use super::held_lock::send_on_pool;
use super::liveness::{Liveness, until_lost};
use super::release::release;
use super::watch::SharedSession;
use crate::error::{Error, UnsupportedReason};
use crate::fencing::TokenOf;
use crate::lock::{LockId, Wait};
use crate::nesting::Held;
use crate::on_drop::{DiscardOnDrop, FinishOnDrop, finish_in_background};
use crate::sql::send::{send, within};
use crate::sql::session::LockLevel;
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
///   While a dropped statement still runs on the session, only a closed connection is noticed;
/// - while the [`connection`](Self::connection) is in use, by the statement that fails, by the next
///   use of the guard, when the server says that the session has ended, or when it answers neither
///   this question nor a new connection within the `response_timeout` each. The server is asked
///   every `keepalive_interval`, or every 5 seconds if that is shorter, on another connection: an
///   idle one of the pool, or one beside the pool.
///
/// It does so while [`lost`](Self::lost) or [`until_lost`](Self::until_lost) is awaited, in one
/// long watch or in many short ones, and when [`is_lost`](Self::is_lost) is called. Work that must
/// not be done twice belongs under `until_lost`. The moments between the loss and its notice
/// remain: work that cannot bear them needs a transaction lock, whose writes fail with their
/// session.
#[must_use = "the lock is released when the guard is dropped; bind it to a name, because `let _ =` drops it at once"]
pub struct SessionGuard {
    held: Held,
    level: LockLevel,
    session: Arc<SharedSession>,
    /// The session, from [`connection`](Self::connection) until the next use of the guard.
    in_use: Mutex<Option<Box<Liveness>>>,
    place: Option<OwnedSemaphorePermit>,
    /// Until when the lock stays held after the guard has ended.
    keep_until: Option<Instant>,
}

impl SessionGuard {
    pub(crate) fn new(
        held: Held,
        liveness: Liveness,
        backend: Backend,
        keep_until: Option<Instant>,
    ) -> Self {
        Self {
            held,
            level: liveness.holder.level,
            session: SharedSession::new(liveness, backend),
            in_use: Mutex::default(),
            place: None,
            keep_until,
        }
    }

    /// Keeps what the work under the lock needs of the pool.
    pub(crate) fn keep(&mut self, place: OwnedSemaphorePermit) {
        self.place = Some(place);
    }

    /// Which lock it is.
    pub fn lock_id(&self) -> &LockId {
        self.held.lock()
    }

    /// The session that holds the lock, for statements.
    ///
    /// They run while the lock is held, and fail if the session is lost. Do not unlock or `DISCARD`
    /// there. End every transaction before the lock is released: the next holder does not see what
    /// was not committed. Read large results within the
    /// [`keepalive_interval`](crate::AdvisoryLock::keepalive_interval) and the
    /// [`response_timeout`](crate::AdvisoryLock::response_timeout): over TCP, a client that reads
    /// nothing for that long, although more is sent to it, counts as vanished.
    ///
    /// The connection is in use until the next call of a method of this guard. Meanwhile, nothing
    /// else reads it; [`lost`](Self::lost) can be awaited beside it all the same.
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
    /// [`Error::Lost`] if the session has ended. [`Error::Unsupported`] behind a pooler in
    /// transaction mode, where a transaction holds the lock, of which the statement would become a
    /// part.
    ///
    /// # Cancel safety
    ///
    /// At most a keepalive probe is sent, whose answer is awaited, so nothing changes. A dropped
    /// statement continues on the server, and the next use of the guard waits for it. The release
    /// waits for a second; then the connection is closed, and the lock ends when the server
    /// notices. Locks that you take here by hand are yours to release.
    pub async fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        self.check_is_session()?;
        let taken = self.session().take().await;
        let in_use = self
            .in_use
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        *in_use = taken;
        match in_use {
            Some(liveness) => Ok(liveness.session.acquire().await?),
            None => Err(Error::lost(self.held.lock())),
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
        self.fencing_token_alone().await
    }

    /// The token of a leader, after which its session runs nothing else.
    pub(super) async fn begin_term(&mut self) -> Result<i64, Error> {
        let session = self.session();
        session
            .fencing_token(self.held.lock(), TokenOf::Leader)
            .await
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
        let is_kept = self.is_kept();
        if is_kept && self.is_lost() {
            return Err(Error::lost(self.held.lock()));
        }
        // The liveness is not checked before: the answer to the release says more.
        match self.end() {
            Some(liveness) if is_kept => {
                self.keep_lock(liveness);
                Ok(())
            }
            Some(liveness) => FinishOnDrop::new(release(self.held.lock().clone(), liveness)).await,
            None => Err(Error::lost(self.held.lock())),
        }
    }

    /// Resolves when the session has ended, and the lock with it; or when this guard is released or
    /// dropped.
    ///
    /// The future borrows nothing: it can be spawned, and awaited while the
    /// [`connection`](Self::connection) is in use.
    ///
    /// ```no_run
    /// use std::pin::pin;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let mut guard = AdvisoryLock::new("leader").acquire(pool).await?;
    /// let mut lost = pin!(guard.lost());
    /// loop {
    ///     let beat = sqlx::query("UPDATE leader SET seen = now()");
    ///     tokio::select! {
    ///         () = &mut lost => break,
    ///         done = beat.execute(guard.connection().await?) => done?,
    ///     };
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the lock stays held, and other watchers and later calls continue to watch.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        Arc::clone(self.session()).lost()
    }

    /// The next notification on the session: run `LISTEN` on the [`connection`](Self::connection).
    ///
    /// As with [`lost`](Self::lost), the future borrows nothing. Notifications are kept, in their
    /// order, from the moment that this client reads them until they are taken here. At most 1,024
    /// are kept; when more arrive, the oldest are dropped, with one warning. Those that arrive
    /// while the connection is in use are delivered after the next call of a method of this guard.
    /// When the lock is released, the session listens no more.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn run(job: &str) {}
    /// let mut guard = AdvisoryLock::new("leader").acquire(pool).await?;
    /// sqlx::query("LISTEN jobs").execute(guard.connection().await?).await?;
    /// loop {
    ///     run(guard.notification().await?.payload()).await;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended, or the guard, and no notification is left.
    /// [`Error::Unsupported`] where there is no [`connection`](Self::connection).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a notification that is not returned is kept for the next call.
    pub fn notification(
        &self,
    ) -> impl Future<Output = Result<PgNotification, Error>> + Send + 'static + use<> {
        let (session, lock) = (Arc::clone(self.session()), self.held.lock().clone());
        let is_session = self.check_is_session();
        async move {
            is_session?;
            session
                .notification()
                .await
                .ok_or_else(|| Error::lost(&lock))
        }
    }

    /// Whether the session is known to have ended. It looks at the socket, and at whether a
    /// response is overdue, but does not wait.
    ///
    /// It is not for a loop that never awaits: a runtime with one thread cannot read the response
    /// meanwhile, and the session would count as lost.
    pub fn is_lost(&self) -> bool {
        self.session().is_lost()
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
    /// The future is dropped at an `.await`: code that blocks its thread runs on until the next
    /// one, and tasks that it has spawned outlive it.
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
        held.around(until_lost(self.held.lock(), self.lost(), future))
    }

    /// Whether the connection can be handed out.
    fn check_is_session(&self) -> Result<(), Error> {
        match self.level {
            LockLevel::Session => Ok(()),
            LockLevel::Transaction => Err(Error::unsupported(UnsupportedReason::HeldByTransaction)),
        }
    }

    /// What its watchers share with it.
    pub(crate) fn shared(&self) -> Arc<SharedSession> {
        Arc::clone(self.session())
    }

    /// As [`fencing_token`](Self::fencing_token), once at a time.
    pub(crate) async fn fencing_token_alone(&self) -> Result<i64, Error> {
        let session = self.session();
        session
            .fencing_token(self.held.lock(), TokenOf::Holder)
            .await
    }

    /// Lets the release close the connection, which does not return to the pool.
    #[cfg(feature = "migrate")]
    pub(crate) fn close_after_release(&self) {
        self.session().close_after_release();
    }

    /// The pool on whose database the lock is held.
    pub(crate) fn pool(&self) -> PgPool {
        self.session.pool()
    }

    /// Sends a statement of ours, to be committed: on the session, or on the pool if a transaction
    /// stands for the session.
    pub(super) async fn send(
        &mut self,
        pool: &PgPool,
        statement: String,
        limit: Duration,
    ) -> Result<Vec<PgRow>, Error> {
        if self.level == LockLevel::Transaction {
            return send_on_pool(pool, &statement, limit).await;
        }
        let sent = send(self.connection().await?, statement);
        match within(limit, Wait::No, sent).await {
            Err(error) if sqlstate::is_loss(&error) => {
                self.session().mark_lost();
                Err(Error::lost(self.held.lock()))
            }
            sent => Ok(sent?),
        }
    }

    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// The session, which is not in use any more.
    fn session(&self) -> &Arc<SharedSession> {
        let in_use = self
            .in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(liveness) = in_use {
            self.session.put_back(liveness);
        }
        &self.session
    }

    /// Whether the lock stays held when this guard ends.
    fn is_kept(&self) -> bool {
        self.keep_until.is_some_and(|until| until > Instant::now())
    }

    /// Releases the lock when its time has come.
    fn keep_lock(&self, liveness: Box<Liveness>) {
        let (lock, until) = (self.held.lock().clone(), self.keep_until);
        let kept = DiscardOnDrop::new(async move {
            if let Some(until) = until {
                sleep_until(until.into()).await;
            }
            release(lock, liveness).await
        });
        // Without a runtime, nobody could release it later: its connection is closed here.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(kept);
        }
    }

    fn end(&mut self) -> Option<Box<Liveness>> {
        self.session().end()
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut guard = f.debug_struct("SessionGuard");
        guard
            .field("lock", self.held.lock())
            .finish_non_exhaustive()
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let Some(liveness) = self.end() else { return };
        if self.is_kept() {
            self.keep_lock(liveness);
        } else {
            finish_in_background(release(self.held.lock().clone(), liveness));
        }
    }
}
