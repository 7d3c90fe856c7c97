//! One lock of a session that holds many.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgRow};
use tokio::sync::{Mutex, oneshot, watch};

use super::LockSession;
use super::lent::unless;
use super::request::{Grant, Request};
use crate::error::Error;
use crate::lock::{AdvisoryLock, LockId};
use crate::nesting::Held;
use crate::session::{HeldLock, SessionGuard, send_on_pool, until_lost};
use crate::sql::sqlstate;
use crate::telemetry::Scope;
use crate::telemetry::metric::Hold;

/// A lock of a [`LockSession`](crate::LockSession), until it is released or the session ends.
///
/// It has what a [`SessionGuard`](crate::SessionGuard) has, except a connection: many locks share
/// one, and a statement there would make all of them wait.
///
/// Dropping the guard releases the lock with the next message, in any runtime or none.
///
/// # Loss
///
/// All guards of a session are lost together, and are notified at once. A closed connection shows
/// on its socket; a silent network after the
/// [`keepalive_interval`](crate::AdvisoryLock::keepalive_interval) and the
/// [`response_timeout`](crate::AdvisoryLock::response_timeout), 10 seconds if neither is set. One
/// task watches for all, whether a guard is awaited or not. A guard that is lost stays lost, also
/// when the `LockSession` has opened another session.
#[must_use = "the lock is released when the guard is dropped; bind it to a name, because `let _ =` drops it at once"]
pub struct LockSessionGuard {
    /// Boxed, so that the futures that wait for a guard stay small.
    inner: Box<Inner>,
}

struct Inner {
    held: Held,
    kind: Kind,
}

enum Kind {
    Shared(Shared),
    Lent(Lent),
}

/// The session holds other locks as well.
struct Shared {
    grant: KeptGrant,
    /// Closed with the guard, for those who watch it.
    ended: OnceLock<watch::Sender<()>>,
    _hold: Hold,
}

/// A transaction, on a session that a pooler lends to it, holds this lock alone.
struct Lent {
    guard: SessionGuard,
    /// One fencing token at a time.
    token: Mutex<()>,
}

impl LockSessionGuard {
    pub(super) fn new(lock: &AdvisoryLock, pool: &PgPool, grant: Grant) -> Self {
        let shared = Shared {
            grant: KeptGrant {
                grant: Some(grant),
                keep_until: lock.keep_until(),
            },
            ended: OnceLock::new(),
            _hold: Hold::start(lock.id(), Scope::Session),
        };
        Self::of(Held::on_pool(lock.id(), pool), Kind::Shared(shared))
    }

    /// Its session is watched, whether the guard is or not.
    pub(crate) fn lent(guard: SessionGuard, locks: &LockSession) -> Self {
        let held = Held::on_pool(guard.lock_id(), locks.pool());
        let (session, lock) = (guard.shared(), guard.lock_id().clone());
        let (closed, open) = (locks.closed(), locks.shared.lent.subscribe());
        tokio::spawn(async move {
            let lost = Arc::clone(&session).lost();
            if unless(closed, lost).await.is_none() {
                session.take_away(lock).await;
            }
            drop(open);
        });
        let token = Mutex::new(());
        Self::of(held, Kind::Lent(Lent { guard, token }))
    }

    fn of(held: Held, kind: Kind) -> Self {
        let inner = Box::new(Inner { held, kind });
        Self { inner }
    }

    /// Which lock it is.
    pub fn lock_id(&self) -> &LockId {
        self.inner.held.lock()
    }

    /// Releases the lock. One round trip, shared with everything that is asked for meanwhile; none
    /// if another task of this process takes the lock over.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the lock was not held any more: the session had ended, or other code has
    /// unlocked it. On a silent network it returns after the
    /// [`response_timeout`](crate::AdvisoryLock::response_timeout).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the lock is released all the same.
    pub async fn release(self) -> Result<(), Error> {
        let Inner { held, kind } = *self.inner;
        let shared = match kind {
            Kind::Shared(shared) => shared,
            Kind::Lent(lent) => return lent.guard.release().await,
        };
        if shared.grant.is_kept() {
            if shared.grant.loss.has_happened() {
                return Err(Error::lost(held.lock()));
            }
            return Ok(());
        }
        let (reply, released) = oneshot::channel();
        let release = Request::Release(shared.grant.id, Some(reply));
        // The owner ends a wait for the server.
        let was_held = shared.grant.owner.send(release).is_ok() && released.await.unwrap_or(false);
        if was_held {
            Ok(())
        } else {
            Err(Error::lost(held.lock()))
        }
    }

    /// Resolves when the session has ended, and the lock with it; or when this guard is released or
    /// dropped.
    ///
    /// The future borrows nothing: it can be spawned.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the lock stays held.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (shared, lent) = match &self.inner.kind {
            Kind::Shared(shared) => (Some(shared.lost()), None),
            Kind::Lent(lent) => (None, Some(lent.guard.lost())),
        };
        async move {
            if let Some(lost) = shared {
                lost.await;
            }
            if let Some(lost) = lent {
                lost.await;
            }
        }
    }

    /// Whether the session is known to have ended.
    pub fn is_lost(&self) -> bool {
        match &self.inner.kind {
            Kind::Shared(shared) => shared.grant.loss.has_happened(),
            Kind::Lent(lent) => lent.guard.is_lost(),
        }
    }

    /// Runs a future while the session is alive.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error, LockSession};
    ///
    /// # async fn sync_tenant(id: i64) {}
    /// # async fn example(locks: &LockSession) -> Result<(), Error> {
    /// let guard = AdvisoryLock::new("tenant:42").acquire(locks).await?;
    /// guard.until_lost(sync_tenant(42)).await?;
    /// guard.release().await
    /// # }
    /// ```
    ///
    /// The future is dropped at an `.await`: code that blocks its thread runs on until the next one,
    /// and tasks that it has spawned outlive it.
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
        let held = self.inner.held.clone();
        held.around(until_lost(self.inner.held.lock(), self.lost(), future))
    }

    /// A number that is greater than any that was taken under the same lock before; see
    /// [`fencing_token`](crate::fencing_token) for its use and its source.
    ///
    /// One round trip, and a wait for the disk, during which the session does nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended or does not answer within the
    /// [`response_timeout`](crate::AdvisoryLock::response_timeout). [`Error::Unsupported`] if the
    /// position in the write-ahead log exceeds the range of a token.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an unused number does no harm.
    pub async fn fencing_token(&self) -> Result<i64, Error> {
        let shared = match &self.inner.kind {
            Kind::Shared(shared) => shared,
            Kind::Lent(lent) => {
                let _one = lent.token.lock().await;
                return lent.guard.fencing_token_alone().await;
            }
        };
        let (reply, token) = oneshot::channel();
        let ask = Request::FencingToken(shared.grant.session, reply);
        let lost = || Error::lost(self.inner.held.lock());
        shared.grant.owner.send(ask).map_err(|_| lost())?;
        match token.await {
            Ok(Err(Error::Database(error))) if sqlstate::is_loss(&error) => Err(lost()),
            Ok(token) => token,
            Err(_) => Err(lost()),
        }
    }
}

/// A grant that its guard gives to the owner if the lock is to be kept.
struct KeptGrant {
    /// `None` when it is dropped.
    grant: Option<Grant>,
    keep_until: Option<Instant>,
}

impl KeptGrant {
    fn is_kept(&self) -> bool {
        self.keep_until.is_some_and(|until| until > Instant::now())
    }
}

impl Deref for KeptGrant {
    type Target = Grant;

    fn deref(&self) -> &Grant {
        self.grant
            .as_ref()
            .expect("BUG: a grant used after its end")
    }
}

impl Drop for KeptGrant {
    fn drop(&mut self) {
        if self.is_kept()
            && let Some(until) = self.keep_until
            && let Some(grant) = self.grant.take()
        {
            let owner = grant.owner.clone();
            // Without an owner, the session has ended.
            let _ = owner.send(Request::Keep(grant, until));
        }
    }
}

impl Shared {
    fn lost(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut loss = self.grant.loss.watch();
        let mut ended = self.ended.get_or_init(|| watch::channel(()).0).subscribe();
        async move {
            let mut has_ended = pin!(ended.changed());
            let mut is_lost = pin!(loss.wait_for(|is_lost| *is_lost));
            poll_fn(|cx| {
                if is_lost.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                has_ended.as_mut().poll(cx).map(drop)
            })
            .await;
        }
    }
}

impl HeldLock for LockSessionGuard {
    fn held(&self) -> &Held {
        &self.inner.held
    }

    fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.lost()
    }

    async fn fencing_token(&mut self) -> Result<i64, Error> {
        Self::fencing_token(self).await
    }

    async fn send(
        &mut self,
        pool: &PgPool,
        statement: String,
        limit: Duration,
    ) -> Result<Vec<PgRow>, Error> {
        send_on_pool(pool, &statement, limit).await
    }

    async fn release(self) -> Result<(), Error> {
        self.release().await
    }
}

impl fmt::Debug for LockSessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut guard = f.debug_struct("LockSessionGuard");
        guard
            .field("lock", self.inner.held.lock())
            .finish_non_exhaustive()
    }
}
