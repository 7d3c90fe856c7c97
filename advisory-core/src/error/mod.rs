//! Why a lock was not taken, or not kept.

mod ended_wait;
mod holder;
mod shared;

use std::time::Duration;

use sqlx::error::DatabaseError;

pub use self::ended_wait::EndedWait;
pub use self::holder::Holder;
use self::holder::{HeldBy, Seconds};
pub(crate) use self::shared::SharedError;
use crate::lock::LockId;
use crate::sql::sqlstate;

/// Why a lock could not be taken, or a statement about one failed.
///
/// A lock that is held elsewhere is an outcome, everything else is a fault:
/// [`is_not_acquired`](Self::is_not_acquired) tells them apart. A deadlock, a cancelled statement,
/// a lost connection and an exhausted pool are never reported as "not acquired".
///
/// It converts into [`sqlx::Error`] and back, so a function that returns sqlx's error can use `?`
/// on this one, and its caller can restore it:
///
/// ```
/// use advisory_core::Error;
///
/// let error: sqlx::Error = Error::NotInTransaction.into();
/// assert!(matches!(Error::from(error), Error::NotInTransaction));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another session holds the lock, and the wait is over.
    #[error("advisory lock {lock} not acquired after {}{}", Seconds(*waited), HeldBy(holders))]
    #[non_exhaustive]
    NotAcquired {
        /// Which lock it is.
        lock: Box<LockId>,
        /// How long the call waited, including for a connection.
        waited: Duration,
        /// Who held the lock just after the wait, at most eight; empty if the holders had ended by
        /// then, or could not be listed.
        holders: Vec<Holder>,
    },
    /// The server ended the wait to break a deadlock (SQLSTATE `40P01`). Roll back and try again;
    /// take locks in one order, or together with [`AdvisoryLock::all`](crate::AdvisoryLock::all). A
    /// deadlock over the rows of a body is an error of its statement: [`Error::Database`].
    #[error("deadlock while waiting for advisory lock {lock}; roll back and try again")]
    #[non_exhaustive]
    Deadlock {
        /// Which lock it is.
        lock: Box<LockId>,
    },
    /// A transaction lock was requested outside a transaction, where it would be released at once.
    /// Nothing was sent.
    #[error(
        "a transaction lock needs a transaction; begin one with sqlx's `begin`, which does not see a `BEGIN` that was \
         sent as a query, or use a session lock"
    )]
    NotInTransaction,
    /// The lock is no longer held: its session or transaction has ended, or other code has released
    /// it.
    #[error(
        "advisory lock {lock} was lost: its session or transaction has ended, or other code has released it"
    )]
    #[non_exhaustive]
    Lost {
        /// Which lock it is.
        lock: Box<LockId>,
    },
    /// The server's lock table is full (SQLSTATE `53200`).
    #[error("the server's lock table is full; raise `max_locks_per_transaction`")]
    LockTableFull,
    /// A promise cannot be kept on this server, connection or runtime, or with these settings.
    #[error("{reason}")]
    #[non_exhaustive]
    Unsupported {
        /// What is not supported, and what to do.
        reason: UnsupportedReason,
    },
    /// Everything else: the connection, the pool, a cancelled statement, the server. If it has
    /// ended a wait, [`ended_wait`](Self::ended_wait) says for which lock.
    #[error(transparent)]
    Database(sqlx::Error),
}

/// Why a lock would not be a lock here; see [`Error::Unsupported`]. It writes what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedReason {
    /// The server is a standby. A standby grants locks, to its own sessions only.
    #[error(
        "this server is a standby, whose advisory locks bind nobody on the primary or on other standbys; \
         connect to the primary (`target_session_attrs`, a writer endpoint)"
    )]
    Standby,
    /// The pool's connections can hold no lock: they lead to different servers, or a pooler lends a
    /// session for one statement at a time.
    #[error(
        "no session lock can be held on this pool: its connections lead to different servers, or to a pooler in \
         statement mode; connect to one server, directly or through a pooler in session or transaction mode"
    )]
    UnfitPool,
    /// A transaction holds the session lock, because a pooler in transaction mode lends the
    /// session, or because it could not be found out whether one does. Its connection cannot be
    /// used for anything else.
    #[error(
        "a transaction holds this session lock, because the pool's connections are not known to be sessions, and a \
         statement there would be a part of that transaction; run it on the pool, or connect past the pooler"
    )]
    HeldByTransaction,
    /// The connection of sea-orm's is not one to PostgreSQL: it leads to another database, or is a
    /// mock or a proxy.
    #[cfg(feature = "sea-orm")]
    #[error(
        "this connection of sea-orm's is not one to PostgreSQL, whose advisory locks these are; connect with \
         a `postgres://` URL"
    )]
    NotPostgres,
    /// The server grants locks that it does not hold.
    #[error(
        "the server granted an advisory lock that this session does not hold: its lock functions do nothing, \
         or a pooler gives every transaction another session; connect to PostgreSQL itself"
    )]
    LocksDoNothing,
    /// The server lacks something that PostgreSQL has from version 14 on.
    #[error(
        "this server does not know what advisory locks need ({message}); expected PostgreSQL 14 or later"
    )]
    #[non_exhaustive]
    UnknownToServer {
        /// The server's own message.
        message: String,
    },
    /// The role may not read what the call reads, or not call what it calls.
    #[error(
        "this role lacks a right that every role has by default ({message}); grant it again: \
         `GRANT SELECT` on a view, `GRANT EXECUTE` on a function"
    )]
    #[non_exhaustive]
    MissingPrivilege {
        /// The server's own message, which names the object.
        message: String,
    },
    /// The call was made outside a tokio runtime.
    #[error("locks need a tokio runtime; use sqlx with `runtime-tokio`")]
    NoRuntime,
    /// The pool has one connection, which the lock keeps, and the body needs another.
    #[error(
        "the pool has one connection, which keeps the lock while the body needs another; run the body on the lock's \
         transaction (`tx`), or raise `max_connections`"
    )]
    PoolOfOne,
    /// The connection is in a transaction that was begun by a statement, which sqlx does not track.
    #[error(
        "the connection is in a transaction that sqlx does not know of; begin it with sqlx instead of a statement"
    )]
    UntrackedTransaction,
    /// The lock has a setting that the called method has no use for.
    #[error("`{setting}` has no effect here; it belongs to {belongs_to}")]
    #[non_exhaustive]
    UnusedSetting {
        /// The method of [`AdvisoryLock`](crate::AdvisoryLock) that sets it.
        setting: &'static str,
        /// Where it has an effect, in words.
        belongs_to: &'static str,
    },
    /// The call would wait for itself: it runs in the body of another call, which holds the lock on
    /// another connection.
    #[error(
        "this call would wait for itself: the call around it holds advisory lock {lock} on another connection; \
         pass its transaction on, or take the lock once"
    )]
    #[non_exhaustive]
    NestedWait {
        /// The lock that the outer call holds.
        lock: Box<LockId>,
    },
    /// The table with the marks of [`every`](crate::AdvisoryLock::every) does not exist.
    #[error(
        "the table {table}, in which `every` marks its periods, does not exist; create it with `Periods::create` \
         (another table: `create_in`), `advisory setup` (`--table`, `--schema`), or a migration: {ddl}"
    )]
    #[non_exhaustive]
    PeriodTableMissing {
        /// The name of the table, quoted.
        table: String,
        /// The statement that creates it.
        ddl: String,
    },
    /// A lock cannot have this number of permits; see
    /// [`AdvisoryLock::permits`](crate::AdvisoryLock::permits).
    #[error("`permits({permits})`: {problem}")]
    #[non_exhaustive]
    Permits {
        /// The number that is set.
        permits: u32,
        /// What is wrong with it on this lock, and what to do.
        problem: &'static str,
    },
    /// The position in the server's write-ahead log does not fit into a fencing token.
    #[error(
        "no fencing token can be made of the position {position} in the write-ahead log, file {file}; \
         expected less than 8 PiB of it on less than 8192 timelines"
    )]
    #[non_exhaustive]
    FencingTokenOverflow {
        /// The position, as PostgreSQL writes it.
        position: String,
        /// The file of the log, whose name begins with the timeline.
        file: String,
    },
}

impl Error {
    /// Whether the lock was not granted in time, and nothing else went wrong.
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

    /// Whether the server ended a statement to break a deadlock, over advisory locks or over rows.
    pub fn is_deadlock(&self) -> bool {
        matches!(self, Self::Deadlock { .. }) || self.is_database(sqlstate::is_deadlock)
    }

    /// Whether the lock was lost: its session or transaction has ended.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Whether the whole transaction can succeed when it is run again: after a deadlock (SQLSTATE
    /// `40P01`) or a serialization failure (`40001`), over advisory locks or over rows.
    ///
    /// A lock that was not acquired is not among them: the caller has chosen how long to wait for
    /// it.
    ///
    /// ```no_run
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// # async fn transfer(pool: &sqlx::PgPool) -> Result<(), Error> { Ok(()) }
    /// loop {
    ///     match transfer(pool).await {
    ///         Err(error) if error.is_retryable() => {} // it is rolled back: run all of it again
    ///         done => return done,
    ///     }
    /// }
    /// # }
    /// ```
    pub fn is_retryable(&self) -> bool {
        self.is_deadlock() || self.is_database(sqlstate::is_serialization_failure)
    }

    /// How a fault has ended the wait for a lock: a cancelled statement, a `statement_timeout`, the
    /// end of the session, an error of a pooler. `None` for anything else, and for a call that does
    /// not wait.
    ///
    /// Such an error is [`Error::Database`] with the same SQLSTATE, or the same kind of I/O error,
    /// as without it; only its text says more.
    ///
    /// ```no_run
    /// use advisory_core::AdvisoryLock;
    ///
    /// # async fn example(pool: &sqlx::PgPool) {
    /// if let Err(error) = AdvisoryLock::new("sync(4)").begin(pool).await
    ///     && let Some(end) = error.ended_wait()
    ///     && end.setting() == Some("statement_timeout")
    /// {
    ///     println!("{} is held by {:?}", end.lock, end.holders);
    /// }
    /// # }
    /// ```
    pub fn ended_wait(&self) -> Option<&EndedWait> {
        match self {
            Self::Database(error) => EndedWait::of(error),
            _ => None,
        }
    }

    pub(crate) fn not_acquired(lock: &LockId, waited: Duration, holders: Vec<Holder>) -> Self {
        Self::NotAcquired {
            lock: Box::new(lock.clone()),
            waited,
            holders,
        }
    }

    pub(crate) fn lost(lock: &LockId) -> Self {
        let lock = Box::new(lock.clone());
        Self::Lost { lock }
    }

    pub(crate) fn unsupported(reason: UnsupportedReason) -> Self {
        Self::Unsupported { reason }
    }

    /// The error of a message that asks for a lock, other than "not in time".
    pub(crate) fn of_lock(error: sqlx::Error, lock: &LockId) -> Self {
        if sqlstate::is_deadlock(&error) {
            tracing::debug!(%lock, error = &error as &dyn std::error::Error, "deadlock");
            let lock = Box::new(lock.clone());
            return Self::Deadlock { lock };
        }
        Self::of_message(error)
    }

    /// The error of any other message of this crate.
    pub(crate) fn of_message(error: sqlx::Error) -> Self {
        if sqlstate::is_lock_table_full(&error) {
            return Self::LockTableFull;
        }
        if sqlstate::is_read_only(&error) {
            return Self::unsupported(UnsupportedReason::Standby);
        }
        if sqlstate::is_unknown_to_server(&error) {
            let message = server_message(&error);
            return Self::unsupported(UnsupportedReason::UnknownToServer { message });
        }
        if sqlstate::is_denied_object(&error) {
            let message = server_message(&error);
            return Self::unsupported(UnsupportedReason::MissingPrivilege { message });
        }
        error.into()
    }

    /// Whether it can end a wait from outside: a timeout, a cancelled statement, a lost session.
    pub(crate) fn is_interruption(&self) -> bool {
        self.is_database(sqlstate::is_interruption)
    }

    /// Names the lock and its holders in an error that has ended the wait for it.
    pub(crate) fn during_wait(self, lock: &LockId, waited: Duration, holders: Vec<Holder>) -> Self {
        match self {
            Self::Database(error) if sqlstate::is_interruption(&error) => {
                Self::Database(EndedWait::explain(lock, waited, holders, error))
            }
            other => other,
        }
    }

    fn is_database(&self, predicate: fn(&sqlx::Error) -> bool) -> bool {
        matches!(self, Self::Database(error) if predicate(error))
    }
}

fn server_message(error: &sqlx::Error) -> String {
    let message = error.as_database_error().map_or("", DatabaseError::message);
    message.to_owned()
}

/// [`Error::Database`] becomes the error that it holds; anything else is boxed as
/// [`sqlx::Error::AnyDriverError`], whose source it is.
impl From<Error> for sqlx::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::AnyDriverError(Box::new(other)),
        }
    }
}

/// Restores an error that was converted into sqlx's; any other error is [`Error::Database`].
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::AnyDriverError(source) => match source.downcast::<Self>() {
                Ok(error) => *error,
                Err(source) => Self::Database(sqlx::Error::AnyDriverError(source)),
            },
            other => Self::Database(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::lock::AdvisoryLock;

    #[test]
    fn not_acquired_names_the_lock_the_wait_and_the_holders() {
        let holder = Holder {
            pid: 7,
            application_name: Some("sync".into()),
            transaction_age: Some(Duration::from_millis(250)),
            is_this_process: true,
        };
        let hidden = Holder {
            pid: 8,
            application_name: None,
            transaction_age: None,
            is_this_process: false,
        };
        let error = Error::NotAcquired {
            lock: Box::new(AdvisoryLock::new("sync(4)").id().clone()),
            waited: Duration::from_secs(2),
            holders: vec![holder, hidden],
        };
        assert_eq!(
            error.to_string(),
            "advisory lock `sync(4)` not acquired after 2.000 s; held by pid 7 (sync) of this process in a transaction of 0.250 s, pid 8"
        );
        assert!(error.is_not_acquired() && !error.is_deadlock() && !error.is_lost());
    }

    #[test]
    fn it_stays_reachable_inside_the_error_of_sqlx() {
        let lock = AdvisoryLock::new(7);
        let error = sqlx::Error::from(Error::lost(lock.id()));
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<Error>());
        assert!(source.is_some_and(Error::is_lost), "{error:?}");
        assert!(
            error
                .to_string()
                .ends_with("has ended, or other code has released it"),
            "{error}"
        );
        assert!(Error::from(error).is_lost());
    }

    #[test]
    fn an_error_of_sqlx_converts_back_unchanged() {
        let error = sqlx::Error::from(Error::Database(sqlx::Error::PoolTimedOut));
        assert!(matches!(error, sqlx::Error::PoolTimedOut));
    }
}
