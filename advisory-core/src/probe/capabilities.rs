//! What is known of each pool and each server.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool};
use tokio::sync::OnceCell;

use super::pooler::{ProbeError, probe_pooler};
use crate::error::{Error, UnsupportedReason};
use crate::lock::{AdvisoryLock, LockId, Wait};
use crate::per_pool::PerPool;
use crate::sql::backend::{HeldKey, held_key};
use crate::sql::send::{send_for_row, within};
use crate::sql::session::LockLevel;
use crate::sql::{ClientCheck, sqlstate, unique_name};
use crate::time_bounds::{CONTENTION, FIRST_PROBE_RETRY, LONGEST_PROBE_RETRY};

/// The servers that were seen to hold a lock; see `SERVER` in `sql`.
static SERVERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Instead of a `lock_timeout` that is not known.
const UNKNOWN: u64 = u64::MAX;

static POOLS: PerPool<Capabilities> = PerPool::new();

/// What is known of a pool.
pub(crate) struct Capabilities {
    has_locks: AtomicBool,
    has_client_check: AtomicBool,
    is_over_tcp: AtomicBool,
    /// Whether a transaction has a default level at which its snapshot is older than its lock.
    has_old_snapshots: AtomicBool,
    lock_level: OnceCell<LockLevel>,
    /// The random key of the pooler probe.
    probe: AdvisoryLock,
    /// In milliseconds; 0 if there is none, [`UNKNOWN`] before it was read.
    lock_timeout: AtomicU64,
    /// When it was last impossible to find out whether the pool has sessions.
    inconclusive: Mutex<Option<Inconclusive>>,
    has_lost_a_wait: AtomicBool,
    /// When it last cost a message to find out that a lock has no free slot.
    contended_since: Mutex<Option<Instant>>,
}

/// A probe that showed nothing, and is not repeated for a while.
#[derive(Clone, Copy)]
struct Inconclusive {
    since: Instant,
    /// How long it is not repeated.
    pause: Duration,
}

impl Capabilities {
    pub(crate) fn of(pool: &PgPool) -> Arc<Self> {
        POOLS.of(pool, || Self {
            has_locks: AtomicBool::new(false),
            has_client_check: AtomicBool::new(false),
            is_over_tcp: AtomicBool::new(false),
            has_old_snapshots: AtomicBool::new(false),
            lock_level: OnceCell::new(),
            probe: AdvisoryLock::new(unique_name("advisory session")),
            lock_timeout: AtomicU64::new(UNKNOWN),
            inconclusive: Mutex::new(None),
            has_lost_a_wait: AtomicBool::new(false),
            contended_since: Mutex::new(None),
        })
    }

    /// The wait that the `lock_timeout` of the pool's sessions means, in the session that was
    /// granted the pool's first lock, or refused it, or was asked for it. `None` before that.
    pub(crate) fn lock_timeout(&self) -> Option<Wait> {
        match self.lock_timeout.load(Ordering::Relaxed) {
            UNKNOWN => None,
            milliseconds => Some(Wait::of_lock_timeout(milliseconds)),
        }
    }

    /// Remembers how long the server has waited before it refused a lock, if nothing else is known
    /// of its `lock_timeout`.
    pub(crate) fn note_refusal(&self, waited: Duration) {
        self.note_lock_timeout(u64::try_from(waited.as_millis()).unwrap_or(UNKNOWN).max(1));
    }

    /// Remembers the server's `lock_timeout` in milliseconds, if it is not known.
    pub(crate) fn note_lock_timeout(&self, milliseconds: u64) {
        let (seen, unseen) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self
            .lock_timeout
            .compare_exchange(UNKNOWN, milliseconds, seen, unseen);
    }

    /// Whether the pool's server can notice that a client has gone.
    pub(crate) fn client_check(&self) -> ClientCheck {
        if !self.has_client_check.load(Ordering::Relaxed) {
            ClientCheck::Unknown
        } else if self.is_over_tcp.load(Ordering::Relaxed) {
            ClientCheck::SupportedOverTcp
        } else {
            ClientCheck::Supported
        }
    }

    /// Whether the last transaction had a default isolation level other than `READ COMMITTED`.
    pub(crate) fn has_old_snapshots(&self) -> bool {
        self.has_old_snapshots.load(Ordering::Relaxed)
    }

    /// Remembers the default isolation level of a transaction.
    pub(crate) fn note_level(&self, level: &str) {
        let is_old = level != "read committed";
        self.has_old_snapshots.store(is_old, Ordering::Relaxed);
    }

    /// Whether a message failed because of the default isolation level, which is remembered.
    pub(crate) fn note_old_snapshot(&self, error: &sqlx::Error) -> bool {
        let is_old = sqlstate::is_old_snapshot(error);
        if is_old {
            self.has_old_snapshots.store(true, Ordering::Relaxed);
        }
        is_old
    }

    /// Whether one of several slots is worth the message that waits for one, which takes the server
    /// longer where a slot is free. The other message is an error where none is free, and the
    /// server's log should not have one for each wait.
    pub(crate) fn has_contended_slots(&self) -> bool {
        let since = *self.contended_since();
        since.is_some_and(|since| since.elapsed() < CONTENTION)
    }

    /// Whether a message failed because no slot is free, which is remembered for a while.
    pub(crate) fn note_no_free_slot(&self, error: &sqlx::Error) -> bool {
        let none_is_free = sqlstate::is_no_free_slot(error);
        if none_is_free {
            *self.contended_since() = Some(Instant::now());
        }
        none_is_free
    }

    fn contended_since(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = self.contended_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a message that takes a lock on this pool. A refused setting means another
    /// server than before, on another platform.
    pub(crate) fn failure(&self, error: sqlx::Error, lock: &LockId) -> Error {
        if sqlstate::is_refused_setting(&error) {
            self.has_client_check.store(false, Ordering::Relaxed);
            self.has_locks.store(false, Ordering::Relaxed);
        }
        Error::of_lock(error, lock)
    }

    /// Checks that a lock that was just granted is held. One round trip, the first time on a pool.
    pub(crate) async fn check_lock(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        if self.has_locks.load(Ordering::Relaxed) {
            return Ok(());
        }
        let seen = check_held(lock.id(), lock.response_limit(), conn).await?;
        if let Some(seen) = seen {
            let is_over_tcp = seen.client_check == ClientCheck::SupportedOverTcp;
            self.is_over_tcp.store(is_over_tcp, Ordering::Relaxed);
            let supported = seen.client_check != ClientCheck::Unknown;
            self.has_client_check.store(supported, Ordering::Relaxed);
            self.lock_timeout
                .store(seen.lock_timeout, Ordering::Relaxed);
            self.has_locks.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What holds a session lock on this pool; `None` before the first one.
    pub(crate) fn known_lock_level(&self) -> Option<LockLevel> {
        self.lock_level.get().copied()
    }

    /// Finds out what can hold a session lock on this pool, whose connections may be sessions or
    /// not. Concurrent calls wait for the first.
    pub(crate) async fn lock_level(
        &self,
        lock: &AdvisoryLock,
        listener: &mut PgListener,
        options: &PgConnectOptions,
        wait: Wait,
    ) -> Result<LockLevel, Error> {
        let probe = async {
            if self.was_inconclusive() {
                return Err(ProbeError::Inconclusive { is_lasting: true });
            }
            // Boxed: it opens a connection, which is a large future and rarely needed.
            let probed =
                Box::pin(probe_pooler(self.probe.id(), lock, listener, options, wait)).await;
            if let Err(ProbeError::Inconclusive { is_lasting: true }) = &probed {
                self.note_inconclusive();
            }
            probed
        };
        match self.lock_level.get_or_try_init(|| probe).await {
            Err(ProbeError::Failed(error)) => Err(error),
            // A transaction holds a lock in either case.
            Err(ProbeError::Inconclusive { .. }) => Ok(LockLevel::Transaction),
            Ok(level) => Ok(*level),
        }
    }

    /// Whether a probe has just shown nothing; another one would show no more.
    fn was_inconclusive(&self) -> bool {
        let last = *self.inconclusive();
        last.is_some_and(|last| last.since.elapsed() < last.pause)
    }

    fn note_inconclusive(&self) {
        let mut last = self.inconclusive();
        let pause = last.map_or(FIRST_PROBE_RETRY, |last| last.pause * 2);
        *last = Some(Inconclusive {
            since: Instant::now(),
            pause: pause.min(LONGEST_PROBE_RETRY),
        });
    }

    fn inconclusive(&self) -> MutexGuard<'_, Option<Inconclusive>> {
        let last = self.inconclusive.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first wait that could not be found to cancel it through this pool.
    pub(crate) fn is_first_lost_wait(&self) -> bool {
        !self.has_lost_a_wait.swap(true, Ordering::Relaxed)
    }
}

/// Checks that a lock that was just granted on a server is held, if nothing is known of the server.
pub(crate) async fn check_lock_on(
    server: &str,
    lock: &LockId,
    response_timeout: Duration,
    conn: &mut PgConnection,
) -> Result<(), Error> {
    let is_known = {
        let servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        servers.contains(server)
    };
    if is_known {
        return Ok(());
    }
    check_held(lock, response_timeout, conn).await.map(drop)
}

/// Checks that this session holds the lock, and remembers its server. A lock on no keys shows
/// nothing: `None`.
async fn check_held(
    lock: &LockId,
    response_timeout: Duration,
    conn: &mut PgConnection,
) -> Result<Option<HeldKey>, Error> {
    if lock.keys().is_empty() {
        return Ok(None);
    }
    let row = within(
        response_timeout,
        Wait::No,
        send_for_row(conn, held_key(lock)),
    )
    .await;
    let row = row.map_err(|error| Error::of_lock(error, lock))?;
    let seen = HeldKey::read(&row)?;
    if !seen.is_held {
        return Err(Error::unsupported(UnsupportedReason::LocksDoNothing));
    }
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.insert(seen.server.clone());
    Ok(Some(seen))
}
