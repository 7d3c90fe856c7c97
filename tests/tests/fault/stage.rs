//! What a story has at hand.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use sqlx::{PgExecutor, PgPool, PgTransaction};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::place::Place;
use crate::story::{Story, Wait};

/// The timeout of a lock that is not to be had.
pub(crate) const SHORT: Duration = Duration::from_millis(100);
/// The timeout of one that is, where the network falls silent; and how long a caller bears with that where nobody else does.
const SILENT: Duration = Duration::from_millis(300);
/// The timeout where nothing makes a wait last.
const LONG: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is there. The library then gives it a second to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// `true` if the row was written under the lock, `false` if the lock was not to be had.
pub(crate) type Outcome = Result<bool, Error>;
/// A story being told.
pub(crate) type Tale = Pin<Box<dyn Future<Output = Outcome> + Send>>;

pub(crate) struct Stage {
    pub(crate) lock: AdvisoryLock,
    /// The timeout of the lock, for the attribute, which does not skip without one.
    pub(crate) timeout: Duration,
    pub(crate) pool: PgPool,
    pub(crate) place: Arc<Place>,
    row: i64,
    limit: Duration,
    /// How long a caller waits for what the library sets no bound to, where the network falls silent.
    patience: Option<Duration>,
    written: Notify,
}

impl Stage {
    pub(crate) fn new(
        story: &Story,
        pool: &PgPool,
        place: &Arc<Place>,
        row: i64,
        is_silent: bool,
    ) -> Arc<Self> {
        let limit = if is_silent { SILENT } else { LONG };
        let lock = story.lock.clone().response_timeout(RESPONSE_TIMEOUT);
        let timeout = match story.wait {
            Wait::Unset => Duration::MAX,
            Wait::Zero => Duration::ZERO,
            Wait::Short => SHORT,
            Wait::Long => limit,
        };
        let lock = match story.wait {
            Wait::Unset => lock,
            _ => lock.timeout(timeout),
        };
        Arc::new(Self {
            lock,
            timeout,
            pool: pool.clone(),
            place: Arc::clone(place),
            row,
            limit,
            patience: is_silent.then_some(SILENT),
            written: Notify::new(),
        })
    }

    /// The work that is done under the lock: there is no row without one. Prepared anew each time, so that every connection says
    /// the same.
    pub(crate) async fn write(&self, to: impl PgExecutor<'_>) -> Result<(), Error> {
        let insert = "INSERT INTO written SELECT $1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE d.datname = current_database() AND (l.classid, l.objid, l.objsubid) = (0, 1, 1) AND l.granted";
        let insert = sqlx::query(insert).bind(self.row).persistent(false);
        self.patiently(insert.execute(to)).await?;
        self.written.notify_one();
        Ok(())
    }

    /// The lock, for a session.
    pub(crate) fn session_lock(&self) -> AdvisoryLock {
        self.lock.clone().keepalive_interval(KEEPALIVE_INTERVAL)
    }

    /// A transaction without a lock. sqlx's own `begin` leaves it open on the server when it is given up half-way.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, Error> {
        let nothing = AdvisoryLock::all([0_i64; 0]).response_timeout(RESPONSE_TIMEOUT);
        nothing.timeout(self.limit).begin(&self.pool).await
    }

    /// Whatever has no bound but the caller's.
    pub(crate) async fn patiently<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error>
    where
        Error: From<E>,
    {
        let Some(patience) = self.patience else {
            return Ok(future.await?);
        };
        let told = timeout(patience, future).await;
        Ok(told.map_err(|_elapsed| given_up())??)
    }

    /// A verb that commits when the row is written: the commit has no other bound either.
    pub(crate) async fn until_committed<T>(
        &self,
        verb: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(patience) = self.patience else {
            return verb.await;
        };
        let give_up = async {
            self.written.notified().await;
            sleep(patience).await;
        };
        tokio::select! {
            told = verb => told,
            () = give_up => Err(given_up()),
        }
    }
}

fn given_up() -> Error {
    let given_up = IoError::new(ErrorKind::TimedOut, "the caller gives up");
    Error::Database(sqlx::Error::Io(given_up))
}

/// `None` if the lock was not to be had.
pub(crate) fn acquired<T>(told: Result<T, Error>) -> Result<Option<T>, Error> {
    match told {
        Ok(told) => Ok(Some(told)),
        Err(error) if error.is_not_acquired() => Ok(None),
        Err(error) => Err(error),
    }
}
