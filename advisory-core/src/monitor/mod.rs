//! Who holds advisory locks, who waits for them, and how to end it.
//!
//! Everything here reads `pg_locks` and `pg_stat_activity`, and locks nothing. It takes any
//! executor, a pool too, and needs no rights beyond those that every role has by default; where
//! they were revoked, [`Error::Unsupported`] names the one that is missing. What PostgreSQL hides
//! from a role that does not own the other session and is not a member of `pg_read_all_stats` is
//! `None`: [`client_addr`](LockStatus::client_addr), [`state`](LockStatus::state),
//! [`wait_event`](LockStatus::wait_event), [`query`](LockStatus::query) and the ages of a holder.
//!
//! ```no_run
//! use advisory_core::{Error, monitor};
//!
//! # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
//! for waiter in monitor::waiters(pool, "nightly").await? {
//!     let (pid, waiting) = (waiter.pid, waiter.waiting_for);
//!     println!("{pid} has waited for {waiting:?}, blocked by {:?}", waiter.blocked_by);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Cancel safety
//!
//! Dropping one of these futures leaves its statement to the server, as with any of sqlx's; a
//! signal may have been sent.

mod leader;

use std::cmp::Reverse;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::{PgExecutor, PgRow};

pub use self::leader::{Leader, LeaderWatch, leader};
use crate::error::Error;
use crate::key::Key;
use crate::lock::Mode;
use crate::sql::monitor::{self as statement, Which};
use crate::sql::send::send;
use crate::sql::{application_name, lossy_text, raw_text};

/// An advisory lock that a session holds or waits for: a row of `pg_locks`, with the columns of
/// `pg_stat_activity` for that session.
///
/// A session that holds a key both exclusively and shared has two rows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockStatus {
    /// What is locked.
    pub key: Key,
    /// The mode that is held or awaited.
    pub mode: Mode,
    /// Whether the lock is held; false while the session waits.
    pub granted: bool,
    /// The process id of the backend, for [`cancel`] and [`terminate`]. It is 0 if a prepared
    /// transaction holds the lock, which has no backend.
    pub pid: i32,
    /// The database of the lock.
    pub database: String,
    /// While the session waits: the backends that hold the lock, or precede it in the queue
    /// (`pg_blocking_pids`); 0 is a prepared transaction.
    pub blocked_by: Vec<i32>,
    /// How long the session has waited. `None` for a holder, and in the first moment of a wait.
    pub waiting_for: Option<Duration>,
    /// For a holder, the age of its transaction, or since when it is prepared: it has held a
    /// transaction lock for at most that long. PostgreSQL does not record when a lock is granted,
    /// so a session lock outside a transaction has none. `None` for a waiter.
    pub transaction_age: Option<Duration>,
    /// How long the session has been in its [`state`](Self::state).
    pub state_age: Option<Duration>,
    /// How long ago the session connected.
    pub session_age: Option<Duration>,
    /// The session's `application_name`; `None` if it has none.
    pub application_name: Option<String>,
    /// The role that the session is logged in as.
    pub user: Option<String>,
    /// The address of the session's client, or `local` on a Unix-domain socket.
    pub client_addr: Option<String>,
    /// `active`, `idle`, `idle in transaction` …, as in `pg_stat_activity`.
    pub state: Option<String>,
    /// What the session waits for: `Lock: advisory`; or, if it holds the lock,
    /// `Lock: transactionid` for a row that another transaction has written, `Client: ClientRead`
    /// for its client.
    pub wait_event: Option<String>,
    /// The statement that the session runs, or its last one.
    pub query: Option<String>,
    /// The identifier of the prepared transaction that holds the lock; `ROLLBACK PREPARED` or
    /// `COMMIT PREPARED` ends it.
    pub gid: Option<String>,
}

impl LockStatus {
    /// The lock's name in the `application_name` of the session; see
    /// [`AdvisoryLock::tag_session`](crate::AdvisoryLock::tag_session). It ends with `…` if it was
    /// cut.
    ///
    /// Any session can write any name there. Only its scheme shows whether it is the name of this
    /// [`key`](Self::key).
    pub fn tag(&self) -> Option<String> {
        application_name::read(self.application_name.as_deref()?)
    }
}

/// All advisory locks of this database, held and waited for: by key, holders first, the longest
/// first.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// for lock in monitor::locks(pool).await? {
///     let does = if lock.granted { "holds" } else { "waits for" };
///     println!("{} {does} {} ({})", lock.pid, lock.key, lock.mode);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Database`].
pub async fn locks(executor: impl PgExecutor<'_>) -> Result<Vec<LockStatus>, Error> {
    list(executor, Which::ThisDatabase).await
}

/// As [`locks`], of all databases of the server. A key means another lock in each database.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn locks_of_all_databases(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<LockStatus>, Error> {
    list(executor, Which::AllDatabases).await
}

/// The holders of a key of this database, the longest first.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let holders = monitor::holders(pool, "nightly").await?;
/// println!("{}", if holders.is_empty() { "the job does not run" } else { "the job runs" });
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Database`].
pub async fn holders(
    executor: impl PgExecutor<'_>,
    key: impl Into<Key>,
) -> Result<Vec<LockStatus>, Error> {
    let mut locks = list(executor, Which::Of(key.into())).await?;
    locks.retain(|lock| lock.granted);
    Ok(locks)
}

/// The waiters for a key of this database, the longest first.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn waiters(
    executor: impl PgExecutor<'_>,
    key: impl Into<Key>,
) -> Result<Vec<LockStatus>, Error> {
    let mut locks = list(executor, Which::Of(key.into())).await?;
    locks.retain(|lock| !lock.granted);
    Ok(locks)
}

/// Cancels the statement of a backend (`pg_cancel_backend`): its wait for a lock ends with an
/// error. Returns whether the backend was signalled.
///
/// False if no backend with this process id holds or waits for an advisory lock, so that a process
/// id that was reused meanwhile hits nobody. An idle session has no statement to cancel, and keeps
/// its locks: [`terminate`] it.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// for waiter in monitor::waiters(pool, "nightly").await? {
///     monitor::cancel(pool, waiter.pid).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Database`], also if the role has no right to signal the backend (SQLSTATE `42501`): it
/// must own the session or be a member of `pg_signal_backend`.
pub async fn cancel(executor: impl PgExecutor<'_>, pid: i32) -> Result<bool, Error> {
    signal(executor, statement::cancel(pid)).await
}

/// Ends a backend (`pg_terminate_backend`): its transaction is rolled back, and all of its locks
/// are released. Returns whether the backend was signalled.
///
/// The backend ends soon after this returns. Otherwise as [`cancel`]. pgpool-II understands the
/// statement, and does not take the end of the backend for a failure of the primary.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// // A session that stays idle in its transaction.
/// for holder in monitor::holders(pool, "nightly").await? {
///     monitor::terminate(pool, holder.pid).await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As [`cancel`].
pub async fn terminate(executor: impl PgExecutor<'_>, pid: i32) -> Result<bool, Error> {
    signal(executor, statement::terminate(pid)).await
}

async fn signal(executor: impl PgExecutor<'_>, statement: String) -> Result<bool, Error> {
    let rows = send(executor, statement).await.map_err(Error::of_message)?;
    rows.first().map_or(Ok(false), |row| Ok(row.try_get(0)?))
}

async fn list(executor: impl PgExecutor<'_>, which: Which) -> Result<Vec<LockStatus>, Error> {
    let rows = send(executor, statement::locks(which))
        .await
        .map_err(Error::of_message)?;
    let locks = rows.iter().filter_map(|row| status(row).transpose());
    let mut locks: Vec<_> = locks.collect::<Result<_, _>>()?;
    // Sorted here: ten thousand wide rows exceed the server's `work_mem`.
    locks.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(locks)
}

/// By key, holders first, the longest first.
fn order(lock: &LockStatus) -> impl Ord + use<'_> {
    let age = Reverse(lock.waiting_for.or(lock.transaction_age));
    (&lock.database, lock.key, !lock.granted, age, lock.pid)
}

/// `None` for the lock of an extension.
fn status(row: &PgRow) -> Result<Option<LockStatus>, sqlx::Error> {
    let Some(key) = key(row)? else {
        return Ok(None);
    };
    let age = |column| -> Result<Option<Duration>, sqlx::Error> {
        let seconds: Option<f64> = row.try_get(column)?;
        Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    };
    let text = if row.try_get("is_raw!")? {
        raw_text
    } else {
        lossy_text
    };
    let (granted, is_shared): (bool, bool) = (row.try_get("granted!")?, row.try_get("is_shared!")?);
    Ok(Some(LockStatus {
        key,
        mode: if is_shared {
            Mode::Shared
        } else {
            Mode::Exclusive
        },
        granted,
        pid: row.try_get("pid!")?,
        database: text(row, "database!")?.unwrap_or_default(),
        blocked_by: row.try_get("blocked_by!")?,
        waiting_for: age("age")?.filter(|_| !granted),
        transaction_age: age("age")?.filter(|_| granted),
        state_age: age("state_age")?,
        session_age: age("session_age")?,
        application_name: lossy_text(row, "application_name")?,
        user: text(row, "user?")?,
        client_addr: row.try_get("client_addr")?,
        state: row.try_get("state?")?,
        wait_event: row.try_get("wait_event")?,
        query: text(row, "query?")?,
        gid: text(row, "gid?")?,
    }))
}

fn key(row: &PgRow) -> Result<Option<Key>, sqlx::Error> {
    let half = |column| -> Result<u32, sqlx::Error> {
        let half: i64 = row.try_get(column)?;
        u32::try_from(half).map_err(|error| sqlx::Error::Decode(error.into()))
    };
    let (classid, objid) = (half("classid!")?, half("objid!")?);
    Ok(Key::from_pg_locks(
        classid,
        objid,
        row.try_get("objsubid!")?,
    ))
}
