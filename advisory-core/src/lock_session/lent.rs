//! The locks of a [`LockSession`](super::LockSession) behind a pooler that lends a session for a
//! transaction at a time: each is held by a transaction of its own.
//!
//! Nobody says how many sessions the pooler has. So one request at a time asks it for one, and the
//! others wait in memory until that request has got one. A request that is refused gives its
//! session back, and asks again later.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use sqlx::postgres::PgPool;
use tokio::sync::{Semaphore, watch};

use crate::key::Key;
use crate::lock::{LockId, Mode};
use crate::per_pool::PerPool;
use crate::time_bounds::IDLE_SESSION;

static OF_POOLS: PerPool<LentSessions> = PerPool::new();

/// What the `LockSession`s of a pool share.
pub(crate) struct LentSessions {
    /// Connections to the pooler, beside the caller's pool. An idle one has no session.
    pub(crate) pool: PgPool,
    /// One permit, for the request that asks the pooler for a session.
    pub(crate) asking: Semaphore,
    /// How many requests pause because others hold their locks.
    pub(crate) refused: AtomicUsize,
    /// How many sessions hold locks.
    holding: AtomicUsize,
    /// The exclusive locks that this process holds.
    held: Mutex<HashMap<Key, LocalHolder>>,
    next_hold: AtomicU64,
}

struct LocalHolder {
    hold: u64,
    since: Instant,
    /// Closed when the lock is released.
    end: watch::Sender<()>,
}

impl LentSessions {
    pub(crate) fn of(pool: &PgPool) -> Arc<Self> {
        OF_POOLS.of(pool, || {
            let options = pool.options().clone().min_connections(0);
            let options = options.idle_timeout(IDLE_SESSION);
            Self {
                pool: options.connect_lazy_with(pool.connect_options().as_ref().clone()),
                asking: Semaphore::new(1),
                refused: AtomicUsize::new(0),
                holding: AtomicUsize::new(0),
                held: Mutex::default(),
                next_hold: AtomicU64::new(0),
            }
        })
    }

    /// Whether this process has sessions that it will give back.
    pub(crate) fn is_holding(&self) -> bool {
        self.holding.load(Ordering::Relaxed) > 0
    }

    /// How many locks were granted so far.
    pub(crate) fn grants(&self) -> u64 {
        self.next_hold.load(Ordering::Relaxed)
    }

    /// Counts a lock as held until the returned value is dropped.
    pub(crate) fn hold(self: &Arc<Self>, lock: &LockId) -> LentHold {
        self.holding.fetch_add(1, Ordering::Relaxed);
        let id = self.next_hold.fetch_add(1, Ordering::Relaxed);
        let lock = lock.without_name();
        // Others may release a permit meanwhile.
        if lock.mode() == Mode::Exclusive && lock.semaphore().is_none() {
            let mut held = self.held();
            held.extend(lock.keys().iter().map(|key| {
                let holder = LocalHolder {
                    hold: id,
                    since: Instant::now(),
                    end: watch::channel(()).0,
                };
                (*key, holder)
            }));
        }
        LentHold {
            sessions: Arc::clone(self),
            lock,
            id,
        }
    }

    /// Since when this process holds an exclusive lock on one of these keys, and what is closed
    /// when it is released. Nothing for a lock with several permits, of which another one may be
    /// free.
    pub(crate) fn local_holder(&self, lock: &LockId) -> Option<(Instant, watch::Receiver<()>)> {
        if lock.semaphore().is_some() {
            return None;
        }
        let held = self.held();
        let mut keys = lock.keys().iter();
        let holder = keys.find_map(|key| held.get(key))?;
        Some((holder.since, holder.end.subscribe()))
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, LocalHolder>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock that this process holds.
pub(crate) struct LentHold {
    sessions: Arc<LentSessions>,
    lock: LockId,
    id: u64,
}

impl Drop for LentHold {
    fn drop(&mut self) {
        self.sessions.holding.fetch_sub(1, Ordering::Relaxed);
        let mut held = self.sessions.held();
        for key in self.lock.keys() {
            // The lock may have been lost, and another task of this process have it now.
            if held.get(key).is_some_and(|holder| holder.hold == self.id) {
                held.remove(key);
            }
        }
    }
}

/// Runs a future, unless another one resolves first.
pub(crate) async fn unless<F: Future>(
    other: impl Future<Output = ()>,
    future: F,
) -> Option<F::Output> {
    let (mut other, mut future) = (pin!(other), pin!(future));
    poll_fn(|cx| {
        if other.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
