//! Whether locks are what they are taken for: looked at once for each pool and each server, and remembered.
//!
//! A server may answer PostgreSQL's lock functions and lock nothing; a pooler may give every transaction of a connection another
//! session. Neither can be told from an address, and both by a look.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool};
use sqlx::{
    Acquire as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _,
};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::patience::patience;
use crate::sql::{backend, session, state};
use crate::tag::unique;
use crate::wait::{Deadline, Wait};
use crate::{AdvisoryLock, Error};

/// The servers whose locks were seen to be held; see `server!` in `sql`.
static SERVERS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The pools that are alive, and what is known of them.
static POOLS: Mutex<Vec<Arc<Fitness>>> = Mutex::new(Vec::new());

/// The least time in which a connection beside the pool is to be opened and to notify.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// How long a session keeps still to be notified. A server needs a fraction of a millisecond for that, or some more if it is busy.
const STILLNESS: Duration = Duration::from_millis(250);

/// What is known of a pool.
pub(crate) struct Fitness {
    /// Nothing else tells one pool from another. Gone with the pool, or when it is told to connect elsewhere.
    options: Weak<PgConnectOptions>,
    has_locks: AtomicBool,
    has_sessions: OnceCell<()>,
}

/// Why it is not known that a pool has sessions.
enum Doubt {
    /// Nobody could be found to notify.
    Unanswered,
    Denied(Error),
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
            has_sessions: OnceCell::new(),
        });
        pools.push(Arc::clone(&new));
        new
    }

    /// Looks whether a lock that was just granted is held. One round trip, the first time.
    pub(crate) async fn check_lock(
        &self,
        lock: &AdvisoryLock,
        conn: &mut PgConnection,
    ) -> Result<(), Error> {
        if !self.has_locks.load(Ordering::Relaxed) {
            look(lock, conn).await?;
            self.has_locks.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Looks whether the connections of the pool are sessions, of one server. Those who come meanwhile wait for the answer.
    ///
    /// A session that listens is notified while it is idle. Behind a pooler that lends sessions out for a transaction, whoever
    /// notifies has the session that listens, or another one has it, or nobody; the listener hears nothing.
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
    look(lock, conn).await
}

async fn look(lock: &AdvisoryLock, conn: &mut PgConnection) -> Result<(), Error> {
    let Some(key) = lock.keys().first() else {
        return Ok(());
    };
    let seen = backend::holds(conn, *key).await;
    let (is_held, server) = seen.map_err(|error| state::failure(error, lock))?;
    if !is_held {
        return Err(Error::Unsupported {
            what: NOT_HELD.into(),
        });
    }
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.insert(server);
    Ok(())
}

async fn look_for_session(
    lock: &AdvisoryLock,
    listener: &mut PgListener,
    options: &PgConnectOptions,
    deadline: Deadline,
) -> Result<(), Doubt> {
    let channel = unique("advisory session");
    let failed = |error| Doubt::Denied(state::failure(error, lock));
    let pid = listen(listener, &channel).await.map_err(failed)?;
    let most = patience(lock.probe_interval()) / 2;
    let patience = match deadline.left() {
        Wait::For(left) => left.clamp(LEAST_PATIENCE, most),
        _ => most,
    };
    let notified = timeout(patience, notify(options, &channel, pid)).await;
    let notified = notified.unwrap_or(Err(sqlx::Error::PoolTimedOut));
    let heard = match &notified {
        Ok(()) => hears(listener, &channel).await,
        Err(_) => Ok(false),
    };
    let heard = heard.map_err(failed)?;
    unlisten(listener, &channel).await.map_err(failed)?;
    match notified {
        Ok(()) if heard => Ok(()),
        Ok(()) => Err(Doubt::Denied(Error::Unsupported {
            what: NO_SESSION.into(),
        })),
        Err(error) => {
            tracing::warn!(%lock, %error, "cannot tell whether the pool's connections are sessions");
            Err(Doubt::Unanswered)
        }
    }
}

/// Begins to listen. Returns the process id of the session.
async fn listen(listener: &mut PgListener, channel: &str) -> Result<i32, sqlx::Error> {
    let message = session::listen(channel);
    let conn = listener.acquire().await?;
    let rows = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// Whether the session has been notified.
///
/// It keeps still at first: what it hears then comes from a session that is its own. When it is asked something, the server first
/// passes on what it has been notified of: so a slow network is told from a session that is another's.
async fn hears(listener: &mut PgListener, channel: &str) -> Result<bool, sqlx::Error> {
    match timeout(STILLNESS, listener.try_recv()).await {
        Ok(Ok(Some(said))) => return Ok(said.channel() == channel),
        Ok(Ok(None)) => return Err(std::io::Error::from(ErrorKind::ConnectionAborted).into()),
        Ok(Err(error)) => return Err(error),
        Err(_elapsed) => listener.acquire().await?.ping().await?,
    }
    Ok(std::iter::from_fn(|| listener.next_buffered()).any(|said| said.channel() == channel))
}

async fn unlisten(listener: &mut PgListener, channel: &str) -> Result<(), sqlx::Error> {
    let message = session::unlisten(channel);
    let conn = listener.acquire().await?;
    conn.execute(sqlx::raw_sql(AssertSqlSafe(message))).await?;
    Ok(())
}

async fn notify(options: &PgConnectOptions, channel: &str, pid: i32) -> Result<(), sqlx::Error> {
    let mut conn = options.connect().await?;
    let message = session::notify(channel, pid);
    conn.execute(sqlx::raw_sql(AssertSqlSafe(message))).await?;
    conn.close().await
}

const NOT_HELD: &str = "the server granted an advisory lock that this session does not hold: its lock functions do nothing, or a \
                        pooler gives every transaction another session; connect to PostgreSQL itself";

const NO_SESSION: &str = "this pool's connections are not sessions: a pooler in transaction mode (PgBouncer's `pool_mode = \
                          transaction`) lends each of them out, and a session lock would stay behind in it; use a transaction \
                          lock, or connect past the pooler or to one in session mode";
