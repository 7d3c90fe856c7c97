//! What `cancel` and `terminate` do to a session.

use advisory_core::{Error, monitor};
use sqlx::postgres::PgPool;

/// The function that is called for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `pg_cancel_backend`, which ends the current statement.
    Cancel,
    /// `pg_terminate_backend`, which ends the session.
    Terminate,
}

impl Action {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
        }
    }

    pub(super) fn past(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Terminate => "terminated",
        }
    }

    /// Returns false if the session no longer holds an advisory lock or waits for one.
    pub(super) async fn send(self, pool: &PgPool, pid: i32) -> Result<bool, Error> {
        match self {
            Self::Cancel => monitor::cancel(pool, pid).await,
            Self::Terminate => monitor::terminate(pool, pid).await,
        }
    }
}
