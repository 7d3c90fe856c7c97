use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::AdvisoryLock;

/// Why a lock could not be taken, or a statement about one failed.
///
/// Not getting a lock is an outcome, everything else is a fault: [`is_not_acquired`](Self::is_not_acquired) tells them apart.
/// A deadlock, a cancelled statement, a lost connection and an exhausted pool are never reported as "not acquired".
///
/// It converts into [`sqlx::Error`] and stays reachable there as its source, so a function that returns sqlx's error can use `?`
/// on this one:
///
/// ```
/// use std::error::Error as _;
///
/// use advisory_core::Error;
///
/// fn is_not_acquired(error: &sqlx::Error) -> bool {
///     let source = error.source().and_then(|source| source.downcast_ref::<Error>());
///     source.is_some_and(Error::is_not_acquired)
/// }
///
/// let error: sqlx::Error = Error::NotInTransaction.into();
/// assert!(!is_not_acquired(&error));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the lock, and the wait is over.
    #[error("advisory lock {lock} not acquired after {}{}", Seconds(*waited), HeldBy(holders))]
    NotAcquired {
        /// What was to be locked.
        lock: Box<AdvisoryLock>,
        /// How long the call took.
        waited: Duration,
        /// Who held the lock just after the wait; empty if they had gone by then, or could not be asked for.
        holders: Vec<Holder>,
    },
    /// The server ended the wait because the transactions that wait for each other would have waited for ever
    /// (SQLSTATE `40P01`). Roll back and try again; take locks in one order, or with [`AdvisoryLock::all`]. A deadlock over the
    /// rows of a body is an error of its statement, not this one.
    #[error("deadlock while waiting for advisory lock {lock}; roll back and try again")]
    Deadlock {
        /// What was to be locked.
        lock: Box<AdvisoryLock>,
    },
    /// A transaction lock was asked for outside a transaction, where it would be free again at once. Nothing was sent.
    #[error("a transaction lock needs a transaction; begin one first, or use a session lock")]
    NotInTransaction,
    /// The session that held the lock is gone, and the lock with it.
    #[error("advisory lock {lock} was lost with its session")]
    Lost {
        /// What was locked.
        lock: Box<AdvisoryLock>,
    },
    /// The server's lock table has no room (SQLSTATE `53200`).
    #[error("the server's lock table is full; raise `max_locks_per_transaction`")]
    LockTableFull,
    /// Something here cannot keep its promise on this server, connection or runtime.
    #[error("{what}")]
    Unsupported {
        /// What is not supported, and what to do.
        what: Cow<'static, str>,
    },
    /// Everything else: the connection, the pool, a cancelled statement, the server.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Who holds a lock, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process id of the backend: the argument of `pg_cancel_backend` and `pg_terminate_backend`. 0 is a prepared transaction, which
    /// has none; `pg_prepared_xacts` has its name.
    pub pid: i32,
    /// Its `application_name`; `None` if it has none, or if PostgreSQL hides it from this role.
    pub application: Option<String>,
    /// How long its transaction has been open, which is at least as long as it has held a transaction lock. `None` outside a
    /// transaction, or if PostgreSQL hides it from this role.
    pub since: Option<Duration>,
}

impl Error {
    /// Whether the lock was not to be had in time, and nothing else went wrong.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("sync(4)").timeout(Duration::from_secs(2));
    /// if let Err(error) = lock.begin(pool).await {
    ///     if let Error::NotAcquired { holders, .. } = &error {
    ///         println!("held by {:?}", holders.iter().map(|holder| holder.pid).collect::<Vec<_>>());
    ///     }
    ///     if !error.is_not_acquired() {
    ///         return Err(error); // a fault, not an outcome
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_not_acquired(&self) -> bool {
        matches!(self, Self::NotAcquired { .. })
    }

    /// Whether the server broke a deadlock by ending this wait.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn transfer(pool: &sqlx::PgPool) -> Result<(), Error> { Ok(()) }
    /// loop {
    ///     match transfer(pool).await {
    ///         Err(error) if error.is_deadlock() => {} // it is rolled back: all of it again
    ///         done => return done,
    ///     }
    /// }
    /// # }
    /// ```
    pub fn is_deadlock(&self) -> bool {
        matches!(self, Self::Deadlock { .. })
    }

    /// Whether the session that held the lock is gone.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// [`Error::Database`] becomes what it was; anything else is boxed as [`sqlx::Error::AnyDriverError`], whose source it is.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::AnyDriverError(Box::new(other)),
        }
    }
}

/// Writes a duration as `2.000 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0.as_secs_f64())
    }
}

/// Writes `; held by pid 7 (sync) in a transaction of 0.250 s, pid 8`.
struct HeldBy<'a>(&'a [Holder]);

impl fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, holder) in self.0.iter().enumerate() {
            let before = if index == 0 { "; held by" } else { "," };
            match holder.pid {
                0 => write!(f, "{before} a prepared transaction")?,
                pid => write!(f, "{before} pid {pid}")?,
            }
            if let Some(application) = &holder.application {
                write!(f, " ({application})")?;
            }
            if let Some(since) = holder.since {
                write!(f, " in a transaction of {}", Seconds(since))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn not_acquired_says_what_how_long_and_who() {
        let holder = Holder {
            pid: 7,
            application: Some("sync".into()),
            since: Some(Duration::from_millis(250)),
        };
        let hidden = Holder {
            pid: 8,
            application: None,
            since: None,
        };
        let error = Error::NotAcquired {
            lock: Box::new("sync(4)".into()),
            waited: Duration::from_secs(2),
            holders: vec![holder, hidden],
        };
        assert_eq!(
            error.to_string(),
            "advisory lock `sync(4)` not acquired after 2.000 s; held by pid 7 (sync) in a transaction of 0.250 s, pid 8"
        );
        assert!(error.is_not_acquired() && !error.is_deadlock() && !error.is_lost());
    }

    #[test]
    fn it_stays_reachable_inside_the_error_of_sqlx() {
        let lock = Box::new(AdvisoryLock::new(7));
        let error = sqlx::Error::from(Error::Lost { lock });
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<Error>());
        assert!(source.is_some_and(Error::is_lost), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("advisory lock 7 was lost with its session"),
            "{error}"
        );
    }

    #[test]
    fn the_error_of_sqlx_comes_back_as_it_was() {
        let error = sqlx::Error::from(Error::Database(sqlx::Error::PoolTimedOut));
        assert!(matches!(error, sqlx::Error::PoolTimedOut));
    }
}
