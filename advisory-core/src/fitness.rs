//! Whether locks are what they are taken for: looked at once for each pool and each server, and remembered.
//!
//! A server may answer PostgreSQL's lock functions and lock nothing; a pooler may give every transaction of a connection another
//! session. Neither can be told from an address, and both by a look.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool};
use sqlx::{
    Acquire as _, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _,
};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

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
/// How long a server is given to end a session whose connection was closed, before it is looked at again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

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
    /// What a session has locked goes with its connection. Behind a pooler that lends sessions out for a transaction it stays
    /// there, and whoever is lent that session next finds it. Nobody else is told of anything.
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
    let mark = AdvisoryLock::new(unique("advisory session"));
    let most = patience(lock.probe_interval()) / 2;
    let patience = match deadline.left() {
        Wait::For(left) => left.clamp(LEAST_PATIENCE, most),
        _ => most,
    };
    let sure = timeout(patience, async {
        let server = leave(options, &mark).await?;
        look_until_sure(listener, options, &mark, &server).await
    });
    match sure.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Doubt::Denied(Error::Unsupported {
            what: NO_SESSION.into(),
        })),
        Err(error) => {
            tracing::warn!(%lock, %error, "cannot tell whether the pool's connections are sessions");
            Err(Doubt::Unanswered)
        }
    }
}

/// Leaves a mark on a session whose connection is closed. Returns its server.
async fn leave(options: &PgConnectOptions, mark: &AdvisoryLock) -> Result<String, sqlx::Error> {
    let mut conn = options.connect().await?;
    let message = session::leave(mark);
    let rows = conn
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    conn.close().await?;
    rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get(0)
}

/// Whether the mark has gone with its connection; false once it was found in a session that was lent to us, and taken back.
async fn look_until_sure(
    listener: &mut PgListener,
    options: &PgConnectOptions,
    mark: &AdvisoryLock,
    server: &str,
) -> Result<bool, sqlx::Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let conn = listener.acquire().await?;
        if let Some(sure) = look_for_mark(conn, mark, server).await? {
            return Ok(sure);
        }
        sleep(pause).await;
        pause *= 2;
        if pause < FIRST_PAUSE * 8 {
            continue;
        }
        // The pooler may lend us the same session again and again, and it is not this one. Keep it, and be lent another one.
        conn.execute(sqlx::raw_sql("BEGIN")).await?;
        let mut other = options.connect().await?;
        let sure = look_for_mark(&mut other, mark, server).await?;
        other.close().await?;
        conn.execute(sqlx::raw_sql("COMMIT")).await?;
        if let Some(sure) = sure {
            return Ok(sure);
        }
    }
}

async fn look_for_mark(
    conn: &mut PgConnection,
    mark: &AdvisoryLock,
    server: &str,
) -> Result<Option<bool>, sqlx::Error> {
    let message = session::take_back(mark);
    let row = conn
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(message)))
        .await?;
    let (is_there, is_ours, here): (bool, bool, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if is_ours || here != server {
        return Ok(Some(false));
    }
    Ok((!is_there).then_some(true))
}

const NOT_HELD: &str = "the server granted an advisory lock that this session does not hold: its lock functions do nothing, or a \
                        pooler gives every transaction another session; connect to PostgreSQL itself";

const NO_SESSION: &str = "this pool's connections are not sessions: a pooler in transaction mode (PgBouncer's `pool_mode = \
                          transaction`) lends each of them out, and a session lock would stay behind in it; use a transaction \
                          lock, or connect past the pooler or to one in session mode";
