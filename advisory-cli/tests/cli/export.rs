//! A lock with two permits, its holders and its queue.

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, LockRow};
use sqlx::PgTransaction;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinHandle;

pub(crate) fn export() -> AdvisoryLock {
    AdvisoryLock::new("export").permits(2)
}

/// Waits until so many sessions are in its queue.
pub(crate) async fn wait_until_queued(database: &Database, waiters: usize) {
    let turnstile = export().keys()[0].slot(0).to_pg_locks();
    // A shared lock is that of a look, which may come before the wait.
    let is_queued = |lock: &&LockRow| {
        (lock.classid, lock.objid, lock.objsubid) == turnstile && lock.mode == "ExclusiveLock"
    };
    let what = format!("{waiters} in the queue");
    let is_so = |locks: &[LockRow]| locks.iter().filter(is_queued).count() == waiters;
    database.wait_until_locks(&what, is_so).await;
}

/// Two of two permits are held, and two sessions queue for one.
pub(crate) struct Crowd {
    pub(crate) held: Vec<PgTransaction<'static>>,
    pub(crate) waiters: Vec<JoinHandle<Result<PgTransaction<'static>, advisory_core::Error>>>,
}

/// A pool of two connections with this `application_name`.
pub(crate) async fn pool(database: &Database, application: &str) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(2);
    let options = database.options().application_name(application);
    pool.connect_with(options).await.unwrap()
}

impl Crowd {
    pub(crate) async fn gather(database: &Database) -> Self {
        let mut held = Vec::new();
        for application in ["one", "two"] {
            let pool = pool(database, application).await;
            held.push(export().begin(&pool).await.unwrap());
        }
        let mut waiters = Vec::new();
        for (application, count) in [("first", 1), ("second", 2)] {
            let pool = pool(database, application).await;
            waiters.push(tokio::spawn(async move { export().begin(&pool).await }));
            wait_until_queued(database, count).await;
        }
        Self { held, waiters }
    }

    pub(crate) async fn end(self) {
        drop(self.held);
        for waiter in self.waiters {
            drop(waiter.await.unwrap().unwrap());
        }
    }
}
