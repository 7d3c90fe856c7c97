//! Jobs that run once per period, by the server's clock.
//!
//! A lock keeps two runs from overlapping. A [mark](table) in a table keeps the second one from
//! starting when the first has ended.

mod table;

use std::time::Duration;

use sqlx::PgTransaction;
use sqlx::postgres::{PgConnection, PgPool};

pub use self::table::Periods;
use crate::acquire::{self, Body, NewTransaction, SessionSource};
use crate::error::{Error, UnsupportedReason};
use crate::executor::LockExecutor;
use crate::lock::{AdvisoryLock, LockId, Mode, Wait};
use crate::nesting::Held;
use crate::session::{HeldLock, SessionGuard, until_lost};
use crate::sql::period::{self, Job};
use crate::sql::send::{send, within};
use crate::time_bounds::{LONGEST_PERIOD, SHORTEST_PERIOD};

/// A job that runs at most once in each period; see [`AdvisoryLock::every`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until one of its methods is awaited"]
pub struct PeriodicLock {
    lock: AdvisoryLock,
    stride: Duration,
    offset: Duration,
    periods: Periods,
}

impl AdvisoryLock {
    /// Under this lock, a job runs at most once in each period, on any machine and at any time:
    /// once a day for `Duration::from_secs(86_400)`.
    ///
    /// A lock keeps two runs from overlapping, but not from following each other: a short job that
    /// two machines start at three o'clock runs twice when their clocks are a second apart. Here
    /// the run also marks its period in a small table, which has to be created once
    /// ([`Periods::create`], `advisory setup`). The time is that of the server alone: no clock of a
    /// client matters.
    ///
    /// | the run crashes | [`transaction`](PeriodicLock::transaction) | [`session`](PeriodicLock::session) |
    /// |---|---|---|
    /// | before the work | the period is open | the period is open |
    /// | during the work | the work is rolled back, the period is open | the period is open; what was done stays |
    /// | after the work, before the mark | does not exist: they commit together | the period is open: the next attempt does the work again |
    /// | after the mark | the period is done | the period is done |
    ///
    /// An open period is done by the next attempt, so start the job more often than its period, or
    /// again when it has failed. A period that nobody tried is gone: none is caught up.
    ///
    /// A period has a fixed length, and periods are counted from Monday, 2001-01-01 00:00 UTC: a
    /// period of a day begins at midnight UTC, one of a week on Mondays. An
    /// [`offset`](PeriodicLock::offset) moves them. There are no months, whose length differs, and
    /// no time zones. The period is at least a millisecond and at most 36,500 days.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let nightly = AdvisoryLock::new("nightly").every(Duration::from_secs(24 * 60 * 60));
    /// let deleted = nightly
    ///     .transaction(pool, async |tx| {
    ///         let delete = sqlx::query("DELETE FROM session WHERE expires < now()");
    ///         Ok::<_, Error>(delete.execute(&mut **tx).await?.rows_affected())
    ///     })
    ///     .await?;
    /// match deleted {
    ///     Some(rows) => println!("{rows} rows"),
    ///     None => println!("it has been done today"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn every(self, period: Duration) -> PeriodicLock {
        PeriodicLock {
            lock: self,
            stride: period.clamp(SHORTEST_PERIOD, LONGEST_PERIOD),
            offset: Duration::ZERO,
            periods: Periods::default(),
        }
    }
}

impl PeriodicLock {
    /// How long after midnight UTC, or whenever else they would begin, the periods begin. If not
    /// set, zero.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = offset;
        self
    }

    /// The table with the marks. If not set, `advisory_period`.
    pub fn periods(mut self, periods: &Periods) -> Self {
        self.periods = periods.clone();
        self
    }

    /// Runs a closure in a transaction that holds the lock and marks the period: the mark commits
    /// with the work, exactly once. `None`, without running the closure, if the period is done.
    ///
    /// It waits for the lock as [`AdvisoryLock::transaction`] does, so that it takes over from a
    /// run that fails. One round trip more than that.
    ///
    /// # Errors
    ///
    /// As [`AdvisoryLock::transaction`]. [`Error::Unsupported`] if the table does not exist
    /// ([`PeriodTableMissing`](UnsupportedReason::PeriodTableMissing), which has the statement that
    /// creates it), and for a [`shared`](AdvisoryLock::shared) lock or one with several
    /// [`permits`](AdvisoryLock::permits).
    ///
    /// # Cancel safety
    ///
    /// As [`AdvisoryLock::transaction`].
    pub async fn transaction<T, E, F>(&self, pool: &PgPool, body: F) -> Result<Option<T>, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        self.check()?;
        let scope = NewTransaction(pool, Body::Inside);
        let transaction = acquire::acquire(&self.lock, scope).await?;
        self.run(pool, transaction, body).await
    }

    /// As [`transaction`](Self::transaction); `None` also if the lock is not granted in time. If no
    /// wait is set, it does not wait.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction), but never [`Error::NotAcquired`] of this lock.
    ///
    /// # Cancel safety
    ///
    /// As [`AdvisoryLock::transaction`].
    pub async fn try_transaction<T, E, F>(&self, pool: &PgPool, body: F) -> Result<Option<T>, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        self.check()?;
        let scope = NewTransaction(pool, Body::Inside);
        match acquire::try_acquire(&self.lock, scope).await? {
            Some(transaction) => self.run(pool, transaction, body).await,
            None => Ok(None),
        }
    }

    async fn run<T, E, F>(
        &self,
        pool: &PgPool,
        mut transaction: acquire::OwnTransaction,
        body: F,
    ) -> Result<Option<T>, E>
    where
        F: AsyncFnOnce(&mut PgTransaction<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        if !self.claim(transaction.get()).await? {
            transaction.finish(self.id(), false).await?;
            return Ok(None);
        }
        let held = Held::on_pool(self.id(), pool);
        acquire::run(held, transaction, body).await.map(Some)
    }

    /// Waits for the lock in the caller's transaction, and marks the period there. `false` if the
    /// period is done: the transaction is usable then, and holds the lock.
    ///
    /// Two round trips if the lock is free.
    ///
    /// # Errors
    ///
    /// As [`AdvisoryLock::acquire_xact`], and as [`transaction`](Self::transaction). If the table
    /// does not exist, the transaction is aborted.
    ///
    /// # Cancel safety
    ///
    /// As [`AdvisoryLock::acquire_xact`].
    pub async fn acquire_xact(&self, mut executor: impl LockExecutor) -> Result<bool, Error> {
        self.check()?;
        let conn = executor.connection();
        self.lock.acquire_xact(&mut *conn).await?;
        self.claim(conn).await
    }

    /// As [`acquire_xact`](Self::acquire_xact); `false` also if the lock is not granted in time. If
    /// no wait is set, it does not wait.
    ///
    /// # Errors
    ///
    /// As [`acquire_xact`](Self::acquire_xact), but never [`Error::NotAcquired`].
    ///
    /// # Cancel safety
    ///
    /// As [`AdvisoryLock::acquire_xact`].
    pub async fn try_acquire_xact(&self, mut executor: impl LockExecutor) -> Result<bool, Error> {
        self.check()?;
        let conn = executor.connection();
        Ok(self.lock.try_acquire_xact(&mut *conn).await? && self.claim(conn).await?)
    }

    /// Runs a closure while a session holds the lock, and marks the period when it has returned
    /// `Ok`. `None`, without running it, if the period is done. For work that is too long for a
    /// transaction, or outside the database.
    ///
    /// The closure gets a [fencing token](crate::fencing_token). It is dropped if the session is
    /// lost, as by [`until_lost`](crate::SessionGuard::until_lost). If it fails, is dropped or
    /// loses its lock, the period stays open for the next attempt. The period is the one in which
    /// the run began.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn send_report(fence: i64) -> Result<(), Error> { Ok(()) }
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let hourly = AdvisoryLock::new("report").every(Duration::from_secs(60 * 60));
    /// hourly.try_session(pool, async |fence| send_report(fence).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`AdvisoryLock::acquire`], those of the closure, and as
    /// [`transaction`](Self::transaction). [`Error::Lost`] if the session was lost before the mark
    /// was written, or another run has begun since: the mark is fenced.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the closure, and then releases the lock. The period is open,
    /// unless the mark was being written.
    pub async fn session<S, T, E, F>(&self, sessions: &S, body: F) -> Result<Option<T>, E>
    where
        S: SessionSource + ?Sized,
        F: AsyncFnOnce(i64) -> Result<T, E>,
        E: From<Error>,
    {
        self.check()?;
        let guard = self.lock.acquire(sessions).await?;
        self.run_in_session(sessions.pool_of()?, guard, body).await
    }

    /// As [`session`](Self::session); `None` also if the lock is not granted in time. If no wait is
    /// set, it does not wait.
    ///
    /// # Errors
    ///
    /// As [`session`](Self::session), but never [`Error::NotAcquired`] of this lock.
    ///
    /// # Cancel safety
    ///
    /// As [`session`](Self::session).
    pub async fn try_session<S, T, E, F>(&self, sessions: &S, body: F) -> Result<Option<T>, E>
    where
        S: SessionSource + ?Sized,
        F: AsyncFnOnce(i64) -> Result<T, E>,
        E: From<Error>,
    {
        self.check()?;
        match self.lock.try_acquire(sessions).await? {
            Some(guard) => self.run_in_session(sessions.pool_of()?, guard, body).await,
            None => Ok(None),
        }
    }

    /// Begins a run under a guard that was acquired by hand, for work that is no closure. Its
    /// [fencing token](crate::fencing_token), or `None` if the period is done.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use advisory_core::{AdvisoryLock, Error};
    ///
    /// # async fn dump() -> Result<(), Error> { Ok(()) }
    /// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
    /// let lock = AdvisoryLock::new("dump");
    /// let mut guard = lock.acquire(pool).await?;
    /// let daily = lock.every(Duration::from_secs(24 * 60 * 60));
    /// if let Some(fence) = daily.begin_run(&mut guard).await? {
    ///     guard.until_lost(dump()).await??;
    ///     daily.finish_run(&mut guard, fence).await?;
    /// }
    /// guard.release().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended. Otherwise as [`transaction`](Self::transaction).
    ///
    /// # Cancel safety
    ///
    /// The period stays open.
    pub async fn begin_run(&self, guard: &mut SessionGuard) -> Result<Option<i64>, Error> {
        self.check()?;
        self.begin(&guard.pool(), guard).await
    }

    /// Marks the period of [`begin_run`](Self::begin_run) as done. Call it when the work has
    /// succeeded, before the guard is released.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] if the session has ended, or another run has begun since.
    ///
    /// # Cancel safety
    ///
    /// The period may be marked or not.
    pub async fn finish_run(&self, guard: &mut SessionGuard, fence: i64) -> Result<(), Error> {
        self.finish(&guard.pool(), guard, fence).await
    }

    async fn run_in_session<G, T, E, F>(
        &self,
        pool: &PgPool,
        mut guard: G,
        body: F,
    ) -> Result<Option<T>, E>
    where
        G: HeldLock,
        F: AsyncFnOnce(i64) -> Result<T, E>,
        E: From<Error>,
    {
        let Some(fence) = self.begin(pool, &mut guard).await? else {
            guard.release().await?;
            return Ok(None);
        };
        let held = guard.held().clone();
        let body = until_lost(self.id(), guard.lost(), body(fence));
        let done = held.around(body).await?;
        if done.is_ok() {
            self.finish(pool, &mut guard, fence).await?;
        }
        // The mark is written, or the body has failed: neither changes with the release.
        if let Err(error) = guard.release().await {
            tracing::debug!(%error, "the session had ended before its lock was released");
        }
        done.map(Some)
    }

    pub(crate) fn lock(&self) -> &AdvisoryLock {
        &self.lock
    }

    fn id(&self) -> &LockId {
        self.lock.id()
    }

    /// Two holders at once would both do the work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |setting, belongs_to| {
            Err(Error::unsupported(UnsupportedReason::UnusedSetting {
                setting,
                belongs_to,
            }))
        };
        if self.lock.mode() == Mode::Shared {
            return refuse(
                "shared",
                "a lock without `every`: shared holders would all do the work",
            );
        }
        if self.id().permits() > 1 {
            return refuse(
                "permits",
                "a lock without `every`: several holders would all do the work",
            );
        }
        Ok(())
    }

    /// Marks the period in the transaction that holds the lock. Whether it was open.
    pub(crate) async fn claim(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        let claimed = send(conn, self.claim_statement());
        // Somebody else may have locked the row. A wait without a limit has none here.
        let rows = within(self.lock.response_limit(), self.claim_wait(), claimed).await;
        let rows = rows.map_err(|error| self.failure(error))?;
        Ok(!rows.is_empty())
    }

    fn claim_wait(&self) -> Wait {
        match self.lock.wait() {
            Wait::For(_) => Wait::No,
            wait => wait,
        }
    }

    /// The statement of [`claim`](Self::claim), which changes a row if the period was open.
    pub(crate) fn claim_statement(&self) -> String {
        period::claim(&self.job(&self.periods.quoted()))
    }

    /// The error of a statement on the table of the periods.
    pub(crate) fn failure(&self, error: sqlx::Error) -> Error {
        self.periods.failure(error)
    }

    /// Begins a run in a session. Its fencing token, or `None` if the period is done.
    pub(crate) async fn begin<G: HeldLock>(
        &self,
        pool: &PgPool,
        guard: &mut G,
    ) -> Result<Option<i64>, Error> {
        let (table, fence) = (self.periods.quoted(), guard.fencing_token().await?);
        let is_open = self
            .send(pool, guard, period::begin(&self.job(&table), fence))
            .await?;
        Ok(is_open.then_some(fence))
    }

    /// Marks the period of a run in a session.
    pub(crate) async fn finish<G: HeldLock>(
        &self,
        pool: &PgPool,
        guard: &mut G,
        fence: i64,
    ) -> Result<(), Error> {
        let table = self.periods.quoted();
        let is_marked = self
            .send(pool, guard, period::finish(&self.job(&table), fence))
            .await?;
        if is_marked {
            Ok(())
        } else {
            Err(Error::lost(self.id()))
        }
    }

    /// Whether the statement has changed a row.
    async fn send<G: HeldLock>(
        &self,
        pool: &PgPool,
        guard: &mut G,
        statement: String,
    ) -> Result<bool, Error> {
        let limit = self.lock.response_limit();
        match guard.send(pool, statement, limit).await {
            Ok(rows) => Ok(!rows.is_empty()),
            Err(Error::Database(error)) => Err(self.periods.failure(error)),
            Err(error) => Err(error),
        }
    }

    fn job<'a>(&'a self, table: &'a str) -> Job<'a> {
        Job {
            table,
            lock: self.id(),
            stride: self.stride,
            // As much as moves the periods.
            offset: Duration::from_nanos(
                u64::try_from(self.offset.as_nanos() % self.stride.as_nanos())
                    .expect("BUG: a period is longer than 500 years"),
            ),
        }
    }
}
