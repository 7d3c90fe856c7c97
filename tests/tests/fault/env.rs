//! The context of a scenario: the lock, the pool, and the row to write.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use sqlx::{PgExecutor, PgPool, PgTransaction};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::fixture::Fixture;
use crate::scenario::{Scenario, Timeout};

/// The timeout of a lock that is not granted.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// The timeout of a lock that is granted, if the network falls silent; and how long a caller waits
/// for an operation without a bound.
const SILENT: Duration = Duration::from_millis(300);
/// The timeout of a lock that is granted, on a network that does not fall silent.
const LONG: Duration = Duration::from_secs(10);
/// The interval between two probes of the server.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// `true` if the row was written under the lock, `false` if the lock was not granted.
pub(crate) type Outcome = Result<bool, Error>;
/// One run of a scenario.
pub(crate) type Run = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(crate) struct Env {
    pub(crate) lock: AdvisoryLock,
    /// The timeout of the lock, for the attribute, which does not skip without one.
    pub(crate) timeout: Duration,
    pub(crate) pool: PgPool,
    pub(crate) fixture: Arc<Fixture>,
    row: i64,
    limit: Duration,
    /// How long a caller waits for an operation without a bound, if the network falls silent.
    caller_timeout: Option<Duration>,
    written: Notify,
}

impl Env {
    pub(crate) fn new(
        scenario: &Scenario,
        pool: &PgPool,
        fixture: &Arc<Fixture>,
        row: i64,
        is_silent: bool,
    ) -> Arc<Self> {
        let limit = if is_silent { SILENT } else { LONG };
        let lock = scenario.lock.clone().response_timeout(RESPONSE_TIMEOUT);
        let timeout = match scenario.timeout {
            Timeout::Unset => Duration::MAX,
            Timeout::Zero => Duration::ZERO,
            Timeout::Short => SHORT,
            Timeout::Long => limit,
        };
        let lock = match scenario.timeout {
            Timeout::Unset => lock,
            _ => lock.timeout(timeout),
        };
        Arc::new(Self {
            lock,
            timeout,
            pool: pool.clone(),
            fixture: Arc::clone(fixture),
            row,
            limit,
            caller_timeout: is_silent.then_some(SILENT),
            written: Notify::new(),
        })
    }

    /// Writes the row, but only if the lock is held. The statement is prepared each time, so that
    /// every connection sends the same messages.
    pub(crate) async fn write(&self, to: impl PgExecutor<'_>) -> Result<(), Error> {
        let insert = "INSERT INTO written SELECT $1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE d.datname = current_database() AND (l.classid, l.objid, l.objsubid) = (0, 1, 1) AND l.granted";
        let insert = sqlx::query(insert).bind(self.row).persistent(false);
        self.with_caller_timeout(insert.execute(to)).await?;
        self.written.notify_one();
        Ok(())
    }

    /// The lock, for a session.
    pub(crate) fn session_lock(&self) -> AdvisoryLock {
        self.lock.clone().keepalive_interval(KEEPALIVE_INTERVAL)
    }

    /// Begins a transaction without a lock. sqlx's `begin` leaves the transaction open on the
    /// server if it is dropped before it returns; a lock on no keys does not.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, Error> {
        let no_keys = AdvisoryLock::all([0_i64; 0]).response_timeout(RESPONSE_TIMEOUT);
        no_keys.timeout(self.limit).begin(&self.pool).await
    }

    /// An operation that only the caller can bound.
    pub(crate) async fn with_caller_timeout<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error>
    where
        Error: From<E>,
    {
        let Some(caller_timeout) = self.caller_timeout else {
            return Ok(future.await?);
        };
        let outcome = timeout(caller_timeout, future).await;
        Ok(outcome.map_err(|_elapsed| given_up())??)
    }

    /// A verb that commits after the row has been written. Only the caller can bound the commit.
    pub(crate) async fn until_committed<T>(
        &self,
        verb: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(caller_timeout) = self.caller_timeout else {
            return verb.await;
        };
        let give_up = async {
            self.written.notified().await;
            sleep(caller_timeout).await;
        };
        tokio::select! {
            outcome = verb => outcome,
            () = give_up => Err(given_up()),
        }
    }
}

fn given_up() -> Error {
    let given_up = IoError::new(ErrorKind::TimedOut, "the caller gives up");
    Error::Database(sqlx::Error::Io(given_up))
}

/// `None` if the lock was not granted.
pub(crate) fn some_if_acquired<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) if error.is_not_acquired() => Ok(None),
        Err(error) => Err(error),
    }
}
