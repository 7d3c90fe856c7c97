//! The context of a scenario: the lock, the pool, and the row to write.

use std::io::{Error as IoError, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_verbs::{Scope, Verb};
use sqlx::{AssertSqlSafe, PgExecutor, PgPool};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::fixture::{Fixture, keys};
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
    pub(crate) pool: PgPool,
    pub(crate) fixture: Arc<Fixture>,
    row: i64,
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
        let lock = scenario.lock.clone().response_timeout(RESPONSE_TIMEOUT);
        let lock = match scenario.timeout {
            Timeout::Unset => lock,
            Timeout::Short => lock.timeout(SHORT),
            Timeout::Long => lock.timeout(if is_silent { SILENT } else { LONG }),
        };
        Arc::new(Self {
            lock,
            pool: pool.clone(),
            fixture: Arc::clone(fixture),
            row,
            caller_timeout: is_silent.then_some(SILENT),
            written: Notify::new(),
        })
    }

    /// Writes the row, but only if the lock is held. The statement is prepared each time, so that
    /// every connection sends the same messages.
    pub(crate) async fn write(&self, to: impl PgExecutor<'_>) -> Result<(), Error> {
        let keys = keys(&self.lock).into_iter().map(Key::to_pg_locks);
        let objects: Vec<_> = keys
            .map(|(classid, objid, _)| format!("({classid}, {objid})"))
            .collect();
        let objects = objects.join(", ");
        let insert = format!(
            "INSERT INTO written SELECT $1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE d.datname = current_database() AND (l.classid, l.objid) IN ({objects}) AND l.granted LIMIT 1"
        );
        let insert = sqlx::query(AssertSqlSafe(insert))
            .bind(self.row)
            .persistent(false);
        self.with_caller_timeout(insert.execute(to)).await?;
        self.written.notify_one();
        Ok(())
    }

    /// The lock, for a session.
    pub(crate) fn session_lock(&self) -> AdvisoryLock {
        self.lock.clone().keepalive_interval(KEEPALIVE_INTERVAL)
    }

    /// The lock, for the verb.
    pub(crate) fn session_lock_if(&self, verb: Verb) -> AdvisoryLock {
        match verb.scope() {
            Scope::Session | Scope::LockSession => self.session_lock(),
            _ => self.lock.clone(),
        }
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

    /// A verb of which only the caller can bound each part.
    pub(crate) async fn give_up_in_time<T>(
        &self,
        verb: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(caller_timeout) = self.caller_timeout else {
            return verb.await;
        };
        // Longer than any part of the verb that the library bounds.
        let longest = timeout(
            RESPONSE_TIMEOUT + 4 * caller_timeout,
            self.until_committed(verb),
        );
        longest.await.unwrap_or_else(|_elapsed| Err(given_up()))
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
