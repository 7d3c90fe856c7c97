//! A lock with two permits, as the tests of the list and of the signals take it.

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, LockRow};

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
