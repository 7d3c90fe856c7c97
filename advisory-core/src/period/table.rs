//! The table with the marks of the periods.

use std::sync::Arc;

use sqlx::postgres::PgPool;

use crate::error::{Error, UnsupportedReason};
use crate::lock::AdvisoryLock;
use crate::sql::period;
use crate::sql::send::send;
use crate::sql::sqlstate;

/// The table in which [`every`](AdvisoryLock::every) marks the periods that are done. It has a row
/// for each job, and is small.
///
/// | column | meaning |
/// |---|---|
/// | `key` | the keys of the job's lock, which identify the job |
/// | `name` | the lock's name, for people |
/// | `period` | the beginning of the last period that is done; `-infinity` if none is |
/// | `done_at` | when it was marked |
/// | `attempt`, `fence` | the period that is under way in session scope, and its fencing token |
///
/// To run a job again in the same period, delete its row. The role that runs the job needs
/// `SELECT`, `INSERT` and `UPDATE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Periods {
    schema: Option<Arc<str>>,
    table: Arc<str>,
}

/// The table `advisory_period`, in the first schema of the `search_path`.
impl Default for Periods {
    fn default() -> Self {
        Self::in_table("advisory_period")
    }
}

impl Periods {
    /// Another table. Its name is quoted, so that case and special characters count.
    pub fn in_table(table: impl AsRef<str>) -> Self {
        Self {
            schema: None,
            table: table.as_ref().into(),
        }
    }

    /// The schema of the table, which must exist. If not set, the `search_path` decides.
    #[must_use]
    pub fn schema(mut self, schema: impl AsRef<str>) -> Self {
        self.schema = Some(schema.as_ref().into());
        self
    }

    /// Creates the table `advisory_period`, unless it exists. Any number of instances may do so at
    /// once.
    ///
    /// ```no_run
    /// use advisory_core::{Error, Periods};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// Periods::create(pool).await?;
    /// Periods::in_table("period").schema("jobs").create_in(pool).await?; // another table
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`], for example if the role has no right to create tables there.
    ///
    /// # Cancel safety
    ///
    /// As [`AdvisoryLock::transaction`]: the table is there, or it is not.
    pub async fn create(pool: &PgPool) -> Result<(), Error> {
        Self::default().create_in(pool).await
    }

    /// Creates this table, unless it exists; otherwise as [`create`](Self::create).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    ///
    /// # Cancel safety
    ///
    /// As [`create`](Self::create).
    pub async fn create_in(&self, pool: &PgPool) -> Result<(), Error> {
        // Two sessions that check at the same moment would both create it, and one would fail.
        let lock = AdvisoryLock::new(format!("advisory_core::Periods {}", self.quoted()));
        lock.transaction(pool, async |tx| {
            send(&mut **tx, self.ddl()).await?;
            Ok::<_, Error>(())
        })
        .await
    }

    /// The statement that creates the table, for a migration.
    ///
    /// ```
    /// use advisory_core::Periods;
    ///
    /// let ddl = Periods::default().ddl();
    /// assert!(ddl.starts_with(r#"CREATE TABLE IF NOT EXISTS "advisory_period" ("#));
    /// ```
    pub fn ddl(&self) -> String {
        period::create(&self.quoted())
    }

    pub(super) fn quoted(&self) -> String {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""));
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.table)),
            None => quote(&self.table),
        }
    }

    /// The error of a statement on the table.
    pub(super) fn failure(&self, error: sqlx::Error) -> Error {
        if sqlstate::is_undefined_table(&error) {
            return Error::unsupported(UnsupportedReason::PeriodTableMissing {
                table: self.quoted(),
                ddl: self.ddl(),
            });
        }
        // The lock was granted on a primary, whose sessions can be read-only as well.
        if sqlstate::is_read_only(&error) {
            return error.into();
        }
        Error::of_message(error)
    }
}
