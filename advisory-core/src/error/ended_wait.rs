//! A wait that something other than its own timeout has ended.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io::Error as IoError;
use std::time::Duration;

use sqlx::error::{DatabaseError, ErrorKind};

use super::holder::{HeldBy, Holder, Seconds};
use crate::lock::{Escaped, LockId};
use crate::sql::sqlstate::{self, Interruption};

/// How a fault has ended the wait for a lock; see [`Error::ended_wait`](crate::Error::ended_wait).
///
/// It writes the lock, the message of the server, the holders, and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub struct EndedWait {
    /// Which lock it is.
    pub lock: LockId,
    /// How long the call had waited.
    pub waited: Duration,
    /// Who held the lock just after the wait, at most eight. Empty if the holders had ended by then
    /// or could not be listed, for the methods that report, and for PostgreSQL's own functions.
    pub holders: Vec<Holder>,
    message: String,
    cause: Interruption,
}

impl EndedWait {
    /// The setting that has ended the wait: `statement_timeout`, `transaction_timeout`, or one of a
    /// pooler, such as PgBouncer's `query_wait_timeout`. `None` if it was no setting, or if the
    /// server's message does not say: PostgreSQL tells a `statement_timeout` from a cancel request
    /// by the text of its message only, which is in English unless `lc_messages` is set.
    pub fn setting(&self) -> Option<&str> {
        match &self.cause {
            Interruption::Setting(name) => Some(name),
            _ => None,
        }
    }

    /// The error of sqlx's that says what it has ended.
    pub(super) fn explain(
        lock: &LockId,
        waited: Duration,
        holders: Vec<Holder>,
        error: sqlx::Error,
    ) -> sqlx::Error {
        let cause = sqlstate::interruption(&error);
        let wait = |message: &str| Self {
            lock: lock.clone(),
            waited,
            holders,
            message: message.to_owned(),
            cause,
        };
        match error {
            sqlx::Error::Database(error) => {
                let wait = wait(error.message());
                sqlx::Error::Database(Box::new(Explained { wait, error }))
            }
            sqlx::Error::Io(error) => {
                let wait = wait(&error.to_string());
                sqlx::Error::Io(IoError::new(error.kind(), wait))
            }
            other => other,
        }
    }

    pub(super) fn of(error: &sqlx::Error) -> Option<&Self> {
        match error {
            sqlx::Error::Database(error) => (**error).source()?.downcast_ref(),
            sqlx::Error::Io(error) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for EndedWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lock, waited, holders) = (&self.lock, Seconds(self.waited), HeldBy(&self.holders));
        let message = Escaped(&self.message);
        write!(
            f,
            "the wait for advisory lock {lock} ended after {waited}: {message}{holders}"
        )?;
        match &self.cause {
            Interruption::Setting(name) => {
                write!(f, "; raise `{name}`, or give the lock a shorter `timeout`")
            }
            Interruption::Cancelled => f.write_str("; the statement was cancelled, try again"),
            Interruption::SessionEnded => f.write_str("; the session has ended, try again"),
            Interruption::Other => Ok(()),
        }
    }
}

impl StdError for EndedWait {}

/// The error of the server, with another text. It converts into the driver's own error as if it
/// were that error.
#[derive(Debug)]
struct Explained {
    wait: EndedWait,
    error: Box<dyn DatabaseError>,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wait.fmt(f)
    }
}

impl StdError for Explained {
    /// Only [`EndedWait::of`] asks: sqlx's error does not pass it on.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.wait)
    }
}

impl DatabaseError for Explained {
    fn message(&self) -> &str {
        self.error.message()
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.error.code()
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.error.as_error()
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self.error.as_error_mut()
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self.error.into_error()
    }

    fn is_transient_in_connect_phase(&self) -> bool {
        self.error.is_transient_in_connect_phase()
    }

    fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}
