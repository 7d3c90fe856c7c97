//! Many locks on one session.
//!
//! A [`LockSession`] is a handle, from which [requests](request) go to its [owner](owner), a task.
//! The [table](table) decides who gets what. The owner keeps the clocks, and a [link](link) to each
//! session: a [connection](connection), and what is under way there. A [guard](guard) is one lock.

mod connection;
mod guard;
mod lent;
mod link;
#[cfg(test)]
mod model;
mod owner;
mod request;
mod table;

use std::fmt;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

pub use self::guard::LockSessionGuard;
pub(crate) use self::lent::{LentSessions, unless};
use self::owner::Owner;
use self::request::{Acquire, Grant, Request};
use self::table::RequestId;
use crate::error::Error;
use crate::lock::{AdvisoryLock, Wait};
use crate::per_pool::PerPool;

/// How many sessions queue on the server if not set.
const QUEUEING: usize = 3;

/// The sessions that the annotated functions of a pool share.
static OF_POOLS: PerPool<Mutex<Weak<Shared>>> = PerPool::new();

/// Any number of session locks on one connection.
///
/// A lock of [`acquire(&pool)`](AdvisoryLock::acquire) costs a connection of the pool for as long
/// as it is held. A `LockSession` has a connection of its own, beside the pool, which holds all its
/// locks: ten thousand tenants, each under its lock, take one connection. It is also faster,
/// because the requests of all tasks that arrive while a message is under way travel in the next
/// one.
///
/// ```no_run
/// use std::time::Duration;
///
/// use advisory_core::{AdvisoryLock, Error, LockSession};
///
/// # async fn sync_tenant(id: i64) {}
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let locks = LockSession::new(pool);
/// let lock = AdvisoryLock::new("tenant:42").timeout(Duration::from_secs(2));
/// let guard = lock.acquire(&locks).await?;
/// guard.until_lost(sync_tenant(42)).await?;
/// guard.release().await?;
/// locks.close().await;
/// # Ok(())
/// # }
/// ```
///
/// It is cheap to clone, and clones share the session. Make one for a service, and keep it.
///
/// # The connection
///
/// It is opened with the first lock, with the pool's options and its `after_connect`, but it does
/// not count against the pool's `max_connections`. After a loss another one is opened. It is closed
/// by [`close`](Self::close), with the pool, with the last clone and the last guard, and when
/// nothing was held or asked for during a minute. The task that owns it is spawned on the runtime
/// of the first caller, which has to run: when that runtime ends, the locks are lost, and the next
/// call starts another one.
///
/// # Waiting
///
/// Tasks that want the same lock wait in memory, first come, first served, at no cost to the
/// server. The first of each line is asked for in sweeps, one statement for all of them, every 5 to
/// 100 ms. Those that have waited longest queue on the server with sessions of their own, at most
/// [`queueing`](Self::queueing), so that no other process overtakes them without end. A lock that
/// is released goes to the next task of this process at once, at most 16 times or for 50 ms; then
/// others get their chance.
///
/// # Behind a pooler in transaction mode
///
/// No session can hold the locks there. Each lock is held by an idle transaction of its own, which
/// keeps a server connection of the pooler. At most as many are held at once as the pooler lends
/// connections, and at most the pool's `max_connections`; the other calls wait in memory, and get
/// [`sqlx::Error::PoolTimedOut`] at their deadline. Leave server connections to the bodies. A lock
/// is lost alone. Nothing queues on the server, so [`queueing`](Self::queueing) has no effect, and
/// other processes that queue can overtake.
///
/// # Limits
///
/// - One lost session loses all its locks: every guard is notified at once, and every body under
///   [`until_lost`](LockSessionGuard::until_lost) is dropped. Nothing is taken again behind its
///   back.
/// - The server cannot see the waits in memory. A deadlock between two such sessions ends with a
///   timeout only, so set one where a task takes a second lock.
/// - Within a process, no task is overtaken. If a task wants the keys A and B and waits for A,
///   later tasks also wait for B, even if B is free.
/// - Between processes, no task waits without end, but the order is not first come, first served. A
///   session that has queued for a lock holds that lock, and queues for no other until it is free.
/// - With several [`permits`](AdvisoryLock::permits), the first waiter looks for a free slot every
///   1 to 50 ms, and the others queue behind it.
/// - A lock takes an entry of the server's lock table for as long as it is held: see
///   `max_locks_per_transaction`.
/// - The settings of the locks apply to the session that they share: the shortest
///   [`keepalive_interval`](AdvisoryLock::keepalive_interval) and
///   [`response_timeout`](AdvisoryLock::response_timeout) of all that were asked for. A lock that
///   sets no response timeout asks for 5 seconds.
#[derive(Clone)]
pub struct LockSession {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    queueing: Arc<AtomicUsize>,
    is_closed: AtomicBool,
    /// Whether the owner keeps this value until it has had nothing to do for a while.
    is_kept: bool,
    owner: Mutex<OwnerHandle>,
    /// Tells those behind a pooler, which have no owner, that this is closed.
    closing: watch::Sender<bool>,
    /// Each lock that is held there watches it.
    lent: watch::Sender<()>,
}

/// Where the requests go.
struct OwnerHandle {
    next_request: RequestId,
    /// `None` before the first request.
    sender: Option<mpsc::UnboundedSender<Request>>,
}

impl LockSession {
    /// Locks on the database of this pool. Nothing is opened until the first lock.
    pub fn new(pool: &PgPool) -> Self {
        Self::of_kind(pool, false)
    }

    fn of_kind(pool: &PgPool, is_kept: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool: pool.clone(),
                queueing: Arc::new(AtomicUsize::new(QUEUEING)),
                is_closed: AtomicBool::new(false),
                is_kept,
                owner: Mutex::new(OwnerHandle {
                    next_request: 1,
                    sender: None,
                }),
                closing: watch::Sender::new(false),
                lent: watch::Sender::new(()),
            }),
        }
    }

    /// The session that the annotated functions of a pool share.
    pub(crate) fn of_pool(pool: &PgPool) -> Self {
        let known = OF_POOLS.of(pool, || Mutex::new(Weak::new()));
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.upgrade() {
            return Self { shared };
        }
        let session = Self::of_kind(pool, true);
        *known = Arc::downgrade(&session.shared);
        session
    }

    /// How many sessions, beside the one that holds the locks, may queue on the server for the
    /// tasks that have waited longest; 3 if not set. Zero asks in sweeps only, so that others who
    /// queue can overtake. All clones share the setting.
    #[must_use]
    pub fn queueing(self, sessions: usize) -> Self {
        self.shared.queueing.store(sessions, Ordering::Relaxed);
        self
    }

    /// Releases all locks and closes the connections. One round trip.
    ///
    /// The guards that still exist count as lost, and those that wait get
    /// [`sqlx::Error::PoolClosed`], as does everybody who asks later.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the session is closed all the same.
    pub async fn close(&self) {
        let owner = {
            let owner = self.owner();
            self.shared.is_closed.store(true, Ordering::SeqCst);
            owner.sender.clone()
        };
        self.shared.closing.send_replace(true);
        if let Some(owner) = owner {
            let (reply, closed) = oneshot::channel();
            if owner.send(Request::Close(reply)).is_ok() {
                // The owner may end for another reason, which closes its sessions, too.
                let _ = closed.await;
            }
        }
        self.shared.lent.closed().await;
    }

    /// Resolves when this, or its pool, is closed.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut closing = self.shared.closing.subscribe();
        let pool_closed = self.pool().close_event();
        async move {
            let closing = async {
                if closing.wait_for(|is_closing| *is_closing).await.is_err() {
                    // Its last clone is dropped; its guards live on.
                    pending::<()>().await;
                }
            };
            let _ = unless(pool_closed, closing).await;
        }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.shared.pool
    }

    /// Asks the owner for a lock; `None` if it is not granted in time.
    pub(crate) async fn ask(
        &self,
        lock: &AdvisoryLock,
        wait: impl Fn() -> Wait,
    ) -> Result<Option<LockSessionGuard>, Error> {
        let grant = self.ask_owner(lock, wait, false).await?;
        Ok(grant.map(|grant| LockSessionGuard::new(lock, self.pool(), grant)))
    }

    /// Waits in the queue for one of several slots, until it is the first in the queue; `None` if
    /// that is not in time.
    pub(crate) async fn ask_for_turn(
        &self,
        lock: &AdvisoryLock,
        wait: impl Fn() -> Wait,
    ) -> Result<Option<Turn>, Error> {
        let turnstile = lock.turnstile();
        let grant = self.ask_owner(&turnstile, wait, false).await?;
        Ok(grant.map(Turn))
    }

    /// Takes a slot that is free, for the first in the queue.
    pub(crate) async fn ask_in_turn(
        &self,
        lock: &AdvisoryLock,
        _turn: &Turn,
    ) -> Result<Option<LockSessionGuard>, Error> {
        let grant = self.ask_owner(lock, || Wait::No, true).await?;
        Ok(grant.map(|grant| LockSessionGuard::new(lock, self.pool(), grant)))
    }

    async fn ask_owner(
        &self,
        lock: &AdvisoryLock,
        wait: impl Fn() -> Wait,
        is_first: bool,
    ) -> Result<Option<Grant>, Error> {
        // An owner that has ended with the request says nothing; the next one does.
        for _ in 0..MOST_OWNERS {
            let wait = wait();
            let Some(mut ticket) = self.join(lock, wait, is_first) else {
                return Err(sqlx::Error::PoolClosed.into());
            };
            // The owner keeps the time, unless nobody runs its runtime.
            let answered = match self.longest(lock, wait) {
                Some(limit) => Box::pin(timeout(limit, ticket.answer())).await,
                None => Ok(ticket.answer().await),
            };
            let answer = answered.map_err(|_elapsed| sqlx::Error::PoolTimedOut)?;
            if let Some(answer) = answer {
                return answer;
            }
        }
        Err(sqlx::Error::WorkerCrashed.into())
    }

    /// The longest time in which the owner answers.
    fn longest(&self, lock: &AdvisoryLock, wait: Wait) -> Option<Duration> {
        let wait = match wait {
            Wait::No => self.pool().options().get_acquire_timeout(),
            Wait::For(limit) => limit,
            Wait::Server | Wait::Forever => return None,
        };
        Some(wait.saturating_add(lock.response_limit()))
    }

    fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::SeqCst) || self.pool().is_closed()
    }

    /// Sends a request, unless the session is closed. Requests are numbered in the order in which
    /// they arrive.
    fn join(&self, lock: &AdvisoryLock, wait: Wait, is_first: bool) -> Option<Ticket> {
        let (reply, answer) = oneshot::channel();
        let mut owner = self.owner();
        if self.is_closed() {
            return None;
        }
        let id = owner.next_request;
        owner.next_request += 1;
        let sender = self.running_owner(&mut owner);
        let acquire = Acquire {
            id,
            lock: lock.clone(),
            wait,
            is_first,
            reply,
        };
        let _ = sender.send(Request::Acquire(acquire));
        Some(Ticket {
            id,
            owner: sender,
            answer: Some(answer),
        })
    }

    /// The owner, which is started if there is none.
    fn running_owner(&self, owner: &mut OwnerHandle) -> mpsc::UnboundedSender<Request> {
        let running = owner.sender.as_ref().filter(|owner| !owner.is_closed());
        if let Some(running) = running {
            return running.clone();
        }
        let (sender, requests) = mpsc::unbounded_channel();
        let (pool, queueing) = (self.pool().clone(), Arc::clone(&self.shared.queueing));
        let kept = self.shared.is_kept.then(|| self.clone());
        let started = Owner::new(pool, queueing, requests, sender.downgrade(), kept);
        tokio::spawn(started.run());
        owner.sender.insert(sender).clone()
    }

    fn owner(&self) -> MutexGuard<'_, OwnerHandle> {
        let owner = self.shared.owner.lock();
        owner.unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many owners may end before they answer.
const MOST_OWNERS: usize = 4;

impl fmt::Debug for LockSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockSession")
            .field("queueing", &self.shared.queueing)
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// The first in the queue for one of several slots. Dropped, it lets the next one in.
pub(crate) struct Turn(Grant);

impl Turn {
    /// Whether its session has ended, and the place in the queue with it.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.loss.has_happened()
    }
}

/// A request on its way. Dropped, it is withdrawn.
struct Ticket {
    id: RequestId,
    owner: mpsc::UnboundedSender<Request>,
    answer: Option<oneshot::Receiver<Result<Option<Grant>, Error>>>,
}

impl Ticket {
    /// `None` if the owner has ended.
    async fn answer(&mut self) -> Option<Result<Option<Grant>, Error>> {
        let answer = self.answer.as_mut()?.await.ok();
        self.answer = None;
        answer
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.answer.take().is_some() {
            let _ = self.owner.send(Request::Withdraw(self.id));
        }
    }
}
