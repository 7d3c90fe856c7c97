//! Who holds a lock, for an error.

use std::fmt;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::lock::Escaped;
use crate::sql::application_name::own;
use crate::sql::lossy_text;

/// A holder of a lock, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process id of the backend: the argument of `pg_cancel_backend` and
    /// `pg_terminate_backend`. It is 0 for a prepared transaction, which has no backend;
    /// `pg_prepared_xacts` has its name.
    pub pid: i32,
    /// Its `application_name`; `None` if it has none, or if PostgreSQL hides it from this role.
    pub application_name: Option<String>,
    /// How long its transaction has been open, which is at least as long as it has held a
    /// transaction lock. `None` outside a transaction, or if PostgreSQL hides it from this role.
    pub transaction_age: Option<Duration>,
    /// Whether the session belongs to this very process. `true` is certain. `false` can also mean
    /// that it is not known: the session has run a statement of its own since it was granted the
    /// lock, the lock was not taken with [`AdvisoryLock`](crate::AdvisoryLock), or PostgreSQL hides
    /// from this role what the session runs.
    pub is_this_process: bool,
}

impl Holder {
    /// Reads the rows of `sql::holder`.
    pub(crate) fn read_all<'r>(
        rows: impl IntoIterator<Item = &'r PgRow>,
    ) -> Result<Vec<Self>, sqlx::Error> {
        rows.into_iter().map(Self::read).collect()
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let age: Option<f64> = row.try_get("transaction_age")?;
        Ok(Self {
            pid: row.try_get("pid")?,
            application_name: lossy_text(row, "application_name")?,
            is_this_process: row.try_get("is_this_process")?,
            transaction_age: age.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }
}

/// Writes a duration as `2.000 s`.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0.as_secs_f64())
    }
}

/// Writes `; held by pid 7 (sync) of this process in a transaction of 0.250 s, pid 8`.
pub(super) struct HeldBy<'a>(pub(super) &'a [Holder]);

impl fmt::Display for HeldBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, holder) in self.0.iter().enumerate() {
            let before = if index == 0 { "; held by" } else { "," };
            match holder.pid {
                0 => write!(f, "{before} a prepared transaction")?,
                pid => write!(f, "{before} pid {pid}")?,
            }
            if let Some(name) = holder.application_name.as_deref().and_then(own) {
                write!(f, " ({})", Escaped(name))?;
            }
            if holder.is_this_process {
                f.write_str(" of this process")?;
            }
            if let Some(age) = holder.transaction_age {
                write!(f, " in a transaction of {}", Seconds(age))?;
            }
        }
        Ok(())
    }
}
