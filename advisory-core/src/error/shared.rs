//! One error for many callers.

use std::error::Error as StdError;
use std::fmt;
use std::io::Error as IoError;
use std::sync::Arc;

use sqlx::error::{DatabaseError, ErrorKind as DatabaseErrorKind};

use super::{Error, UnsupportedReason};

/// An error that ends the waits of many callers, each of which gets its own.
pub(crate) enum SharedError {
    Unsupported(UnsupportedReason),
    Database(Arc<sqlx::Error>),
    LockTableFull,
}

impl From<Error> for SharedError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unsupported { reason } => Self::Unsupported(reason),
            Error::LockTableFull => Self::LockTableFull,
            error => Self::Database(Arc::new(error.into())),
        }
    }
}

impl SharedError {
    pub(crate) fn to_error(&self) -> Error {
        match self {
            Self::Unsupported(reason) => Error::unsupported(reason.clone()),
            Self::LockTableFull => Error::LockTableFull,
            Self::Database(error) => Error::Database(copy(error)),
        }
    }
}

fn copy(error: &Arc<sqlx::Error>) -> sqlx::Error {
    match &**error {
        sqlx::Error::Database(_) => sqlx::Error::Database(Box::new(Copied(Arc::clone(error)))),
        sqlx::Error::PoolTimedOut => sqlx::Error::PoolTimedOut,
        sqlx::Error::PoolClosed => sqlx::Error::PoolClosed,
        sqlx::Error::Io(error) => sqlx::Error::Io(IoError::new(error.kind(), error.to_string())),
        error => sqlx::Error::Io(IoError::other(error.to_string())),
    }
}

/// A database error that several errors share.
#[derive(Debug)]
struct Copied(Arc<sqlx::Error>);

impl Copied {
    fn original(&self) -> Option<&dyn DatabaseError> {
        self.0.as_database_error()
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Copied {}

impl DatabaseError for Copied {
    fn message(&self) -> &str {
        self.original().map_or("", DatabaseError::message)
    }

    fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.original()?.code()
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> DatabaseErrorKind {
        let kind = self.original().map(DatabaseError::kind);
        kind.unwrap_or(DatabaseErrorKind::Other)
    }
}
