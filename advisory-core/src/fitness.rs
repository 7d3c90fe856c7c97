//! Whether locks are what they are taken for: looked at once for each pool and each server, and remembered.
//!
//! A server may answer PostgreSQL's lock functions and lock nothing; a pooler may give every transaction of a connection another
//! session. Neither can be told from an address, and both by a look.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool};
use tokio::sync::OnceCell;

use crate::mark::{Doubt, look_for_session};
use crate::patience::answer;
use crate::sql::message::Platform;
use crate::sql::{backend, state};
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

/// The servers whose locks were seen to be held; see `server!` in `sql`.
static SERVERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The pools that are alive, and what is known of them.
static POOLS: Mutex<Vec<Arc<Fitness>>> = Mutex::new(Vec::new());

/// What is known of a pool.
pub(crate) struct Fitness {
    /// Nothing else tells one pool from another. Gone with the pool, or when it is told to connect elsewhere.
    options: Weak<PgConnectOptions>,
    has_locks: AtomicBool,
    notices_closed_client: AtomicBool,
    has_sessions: OnceCell<()>,
}

impl Fitness {
    pub(crate) fn of(pool: &PgPool) -> Arc<Self> {
        let options = pool.connect_options();
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |known: &&Arc<Self>| known.options.as_ptr() == Arc::as_ptr(&options);
        if let Some(known) = pools.iter().find(is_known) {
            return Arc::clone(known);
        }
        pools.retain(|known| known.options.strong_count() > 0);
        let new = Arc::new(Self {
            options: Arc::downgrade(&options),
            has_locks: AtomicBool::new(false),
            notices_closed_client: AtomicBool::new(false),
            has_sessions: OnceCell::new(),
        });
        pools.push(Arc::clone(&new));
        new
    }

    /// What is known of the platform of the pool's server.
    pub(crate) fn platform(&self) -> Platform {
        if self.notices_closed_client.load(Ordering::Relaxed) {
            Platform::NoticesClosedClient
        } else {
            Platform::Unknown
        }
    }

    /// The error of a message that opens something on this pool. A setting that is refused is one of another server than before, on
    /// another platform.
    pub(crate) fn failure(&self, error: sqlx::Error, lock: &AdvisoryLock) -> Error {
        if state::is_refused_setting(&error) {
            self.notices_closed_client.store(false, Ordering::Relaxed);
            self.has_locks.store(false, Ordering::Relaxed);
        }
        state::failure(error, lock)
    }

    /// Looks whether a lock that was just granted is held. One round trip, the first time.
    pub(crate) async fn check_lock(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        if self.has_locks.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(platform) = look(lock, conn).await? {
            self.notices_closed_client
                .store(platform == Platform::NoticesClosedClient, Ordering::Relaxed);
            self.has_locks.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Looks whether the connections of the pool are sessions, of one server. Those who come meanwhile wait for the answer.
    pub(crate) async fn check_session(
        &self,
        lock: &AdvisoryLock,
        listener: &mut PgListener,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(options) = self.options.upgrade() else {
            return Ok(()); // the pool has just been told to connect elsewhere
        };
        // Boxed: opening a connection is a large future, and rarely wanted.
        let search = Box::pin(look_for_session(lock, listener, &options, deadline));
        match self.has_sessions.get_or_try_init(|| search).await {
            Err(Doubt::Denied(error)) => Err(error),
            Ok(()) | Err(Doubt::Unanswered) => Ok(()),
        }
    }
}

/// Looks whether a lock that was just granted on a server is held, if nothing is known of the server.
pub(crate) async fn check_lock_on(
    server: &str,
    lock: &AdvisoryLock,
    conn: &mut PgConnection,
) -> Result<(), Error> {
    let is_known = {
        let servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        servers.contains(server)
    };
    if is_known {
        return Ok(());
    }
    look(lock, conn).await.map(drop)
}

/// The platform of a server whose locks are held; `None` for a lock on nothing, which shows nothing.
async fn look(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<Option<Platform>, Error> {
    let Some(key) = lock.keys().first() else {
        return Ok(None);
    };
    let seen = answer(lock, Wait::No, backend::holds(conn, *key)).await;
    let seen = seen.map_err(|error| state::failure(error, lock))?;
    if !seen.is_held {
        return Err(Error::Unsupported {
            what: NOT_HELD.into(),
        });
    }
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.insert(seen.server);
    Ok(Some(seen.platform))
}

const NOT_HELD: &str = "the server granted an advisory lock that this session does not hold: its lock functions do nothing, or a \
                        pooler gives every transaction another session; connect to PostgreSQL itself";
