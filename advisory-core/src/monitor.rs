//! Who holds advisory locks, who waits for them, and how to end it.
//!
//! Everything here looks at `pg_locks` and `pg_stat_activity` and locks nothing. It takes any executor, a pool too; a role needs no
//! rights for it. What PostgreSQL hides from a role that is neither the other session's, nor a member of `pg_read_all_stats`, is
//! `None`: [`client`](LockStatus::client), [`state`](LockStatus::state), [`wait_event`](LockStatus::wait_event), [`query`](LockStatus::query) and the times of a holder.
//!
//! ```no_run
//! use advisory_core::{Error, monitor};
//!
//! # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
//! for waiter in monitor::waiters(pool, "nightly").await? {
//!     println!("{} waits for {:?}, blocked by {:?}", waiter.pid, waiter.since, waiter.blocked_by);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Cancel safety
//!
//! Dropping one of these futures leaves its statement to the server, as with any of sqlx's; a signal may have been sent.

use std::time::Duration;

use sqlx::postgres::PgExecutor;

use crate::sql::monitor::{self, Which};
use crate::sql::state;
use crate::{Error, Key, Mode, label};

/// An advisory lock that a session holds or waits for: a row of `pg_locks`, and what `pg_stat_activity` knows about the session.
///
/// A session that holds a key both exclusively and shared has two.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LockStatus {
    /// What is locked.
    pub key: Key,
    /// Held or wanted so.
    pub mode: Mode,
    /// False while it waits.
    pub granted: bool,
    /// The process id of the backend, for [`cancel`] and [`terminate`]. 0 if a prepared transaction holds the lock, which has none.
    pub pid: i32,
    /// The database whose lock it is.
    pub database: String,
    /// While it waits: the backends that hold the lock, or are before it in the queue (`pg_blocking_pids`); 0 is a prepared
    /// transaction.
    pub blocked_by: Vec<i32>,
    /// How long it has waited (`None` in the first moment of a wait). For a holder, how old its transaction is: it has held a
    /// transaction lock for at most that long. PostgreSQL does not note when a lock is granted, so it is `None` for a session lock
    /// outside a transaction.
    pub since: Option<Duration>,
    /// How long the session has been in its [`state`](Self::state).
    pub state_since: Option<Duration>,
    /// How old the session is.
    pub connected_since: Option<Duration>,
    /// Its `application_name`; `None` if it has none.
    pub application: Option<String>,
    /// The role that it is logged in as.
    pub user: Option<String>,
    /// The address of its client, or `local` on a Unix-domain socket.
    pub client: Option<String>,
    /// `active`, `idle`, `idle in transaction` …, as in `pg_stat_activity`.
    pub state: Option<String>,
    /// What it waits for: `Lock: advisory`, or, where it holds the lock, what keeps it: `Lock: transactionid` is a row that somebody
    /// else has written, `Client: ClientRead` the client.
    pub wait_event: Option<String>,
    /// The statement that it runs, or the last one it ran.
    pub query: Option<String>,
    /// The identifier of the prepared transaction that holds the lock; it ends with `ROLLBACK PREPARED` or `COMMIT PREPARED`.
    pub prepared: Option<String>,
}

impl LockStatus {
    /// The name under which the session says that it holds a lock: see [`AdvisoryLock::tag_session`](crate::AdvisoryLock::tag_session).
    /// It ends with `…` if there was no room for all of it.
    ///
    /// Any session can say anything here; whether it is the name of this [`key`](Self::key), its scheme has to say.
    pub fn tag(&self) -> Option<String> {
        label::read(self.application.as_deref()?)
    }
}

/// All advisory locks of this database, held and waited for: by key, holders first, the longest first.
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
    ask(executor, Which::ThisDatabase).await
}

/// As [`locks`], of every database of the server. A key means another lock in each.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn locks_of_all_databases(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<LockStatus>, Error> {
    ask(executor, Which::AllDatabases).await
}

/// Who holds a key of this database, the longest first.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let holders = monitor::holders(pool, "nightly").await?;
/// println!("{}", if holders.is_empty() { "it does not run" } else { "it runs" });
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
    let mut locks = ask(executor, Which::Of(key.into())).await?;
    locks.retain(|lock| lock.granted);
    Ok(locks)
}

/// Who waits for a key of this database, the longest first.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn waiters(
    executor: impl PgExecutor<'_>,
    key: impl Into<Key>,
) -> Result<Vec<LockStatus>, Error> {
    let mut locks = ask(executor, Which::Of(key.into())).await?;
    locks.retain(|lock| !lock.granted);
    Ok(locks)
}

/// Cancels what a backend does (`pg_cancel_backend`): its wait for a lock ends with an error. Whether it was told to.
///
/// False if no backend of this number holds or waits for an advisory lock: a number that has gone to somebody else meanwhile hits
/// nobody. A session that is idle has nothing to cancel, and keeps its locks: [`terminate`] it.
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
/// [`Error::Database`], also if the role may not (SQLSTATE `42501`): the session must be its own, or it a member of
/// `pg_signal_backend`.
pub async fn cancel(executor: impl PgExecutor<'_>, pid: i32) -> Result<bool, Error> {
    monitor::cancel(executor, pid)
        .await
        .map_err(state::failure_of_message)
}

/// Ends a backend (`pg_terminate_backend`): its transaction is rolled back, and all of its locks are free. Whether it was told to.
///
/// It ends soon after, not before this returns. Otherwise as [`cancel`].
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// // One that is idle in its transaction, for ever it seems.
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
    monitor::terminate(executor, pid)
        .await
        .map_err(state::failure_of_message)
}

async fn ask(executor: impl PgExecutor<'_>, which: Which) -> Result<Vec<LockStatus>, Error> {
    monitor::locks(executor, which)
        .await
        .map_err(state::failure_of_message)
}
