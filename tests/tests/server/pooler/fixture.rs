//! The fixture of every test here: a database with a pooler in front of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use advisory_core::Key;
use advisory_tests::{Database, LockRow, Pooler, Pooling, Server};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Executor as _, PgConnection, Row as _};
use tokio::time::timeout;

pub(crate) static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::start().unwrap_or_else(|error| panic!("{error}")));

/// How long a test may take. A longer test is a hang.
const HANG_TIMEOUT: Duration = Duration::from_mins(2);

/// The statement cache of sqlx. Users of a pooler are usually advised to turn it off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cache {
    Default,
    Off,
}

/// A database with a pooler in front of it.
pub(crate) struct Fixture {
    /// The database, without the pooler.
    pub(crate) database: Database,
    pub(crate) pooler: Pooler,
}

impl Fixture {
    /// Returns `None` if there is no PgBouncer, so that the test can be skipped.
    pub(crate) async fn new(pooling: Pooling, backends: u32) -> Option<Self> {
        let database = Database::on(&SERVER).await;
        let pooler = Pooler::try_start(&database, pooling, backends).await?;
        Some(Self { database, pooler })
    }

    /// A pool with so many clients.
    pub(crate) async fn pool(&self, cache: Cache, clients: u32) -> PgPool {
        let options = match cache {
            Cache::Default => self.pooler.options(),
            Cache::Off => self.pooler.options().statement_cache_capacity(0),
        };
        PgPoolOptions::new()
            .max_connections(clients)
            .acquire_timeout(HANG_TIMEOUT / 4)
            .connect_with(options)
            .await
            .unwrap()
    }

    /// The locks of one backend, sorted by key.
    pub(crate) async fn held_by(&self, pid: i32) -> Vec<(Key, String)> {
        let locks = self.database.advisory_locks().await;
        let mut held: Vec<_> = locks
            .into_iter()
            .filter(|lock| lock.granted && lock.pid == pid)
            .map(|lock| (key(&lock), lock.mode))
            .collect();
        held.sort();
        held
    }
}

/// The process id of the backend of the current transaction.
pub(crate) async fn backend(conn: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let message = sqlx::raw_sql("SELECT pg_backend_pid()");
    conn.fetch_one(message).await?.try_get(0)
}

pub(crate) fn key(lock: &LockRow) -> Key {
    Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid).unwrap()
}

/// Runs a future to completion. Panics if it hangs.
pub(crate) async fn in_time<F: Future>(database: &Database, future: F) -> F::Output {
    let Ok(output) = timeout(HANG_TIMEOUT, future).await else {
        panic!("it hangs:\n{}", database.dump().await);
    };
    output
}

/// Counts of outcomes.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<String, u64>>);

impl Tally {
    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.0.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    /// The sum of all counts whose name begins with `beginning`.
    pub(crate) fn sum(&self, beginning: &str) -> u64 {
        let counts = self.0.lock().unwrap();
        let found = counts
            .iter()
            .filter(|(what, _)| what.starts_with(beginning));
        found.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &*self.0.lock().unwrap() {
            writeln!(f, "{count:>8} {what}")?;
        }
        Ok(())
    }
}
