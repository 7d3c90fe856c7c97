//! Locks with several permits: never more holders than permits, always as many while there is work,
//! in the order of the queue, and none lost.

mod attribute;
mod count;
mod fault;
mod process;
mod queue;

use advisory_core::{AdvisoryLock, Key};
use advisory_tests::{Database, LockRow};
use sqlx::{PgPool, PgTransaction};

/// The lock of these tests.
const NAME: &str = "export";

fn lock(permits: u32) -> AdvisoryLock {
    AdvisoryLock::new(NAME).permits(permits)
}

/// Takes so many of the permits, each in a transaction of its own.
async fn take(taken: u32, permits: u32, pool: &PgPool) -> Vec<PgTransaction<'static>> {
    let mut held = Vec::new();
    for _ in 0..taken {
        let taken = lock(permits).try_begin(pool).await.unwrap();
        held.push(taken.expect("a permit is free"));
    }
    held
}

/// The one advisory lock of a transaction.
async fn own_key(tx: &mut PgTransaction<'_>) -> Key {
    let own = "SELECT classid::int8, objid::int8 FROM pg_locks \
               WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()";
    let (classid, objid): (i64, i64) = sqlx::query_as(own).fetch_one(&mut **tx).await.unwrap();
    let half = |number| u32::try_from(number).unwrap();
    Key::from_pg_locks(half(classid), half(objid), 1).unwrap()
}

/// How many wait: one in the front of the queue, which looks for a free slot, and those behind it.
async fn wait_until_queueing(database: &Database, waiters: usize) {
    let what = format!("{waiters} in the queue");
    let is_so = |locks: &[LockRow]| queueing(locks) == waiters;
    database.wait_until_locks(&what, is_so).await;
}

/// How many of these are in the queue. A shared lock is that of a look, which may come before the
/// wait.
fn queueing(locks: &[LockRow]) -> usize {
    let turnstile = AdvisoryLock::new(NAME).keys()[0].slot(0).to_pg_locks();
    let is_of_queue = |lock: &&LockRow| {
        (lock.classid, lock.objid, lock.objsubid) == turnstile && lock.mode == "ExclusiveLock"
    };
    locks.iter().filter(is_of_queue).count()
}

/// How many permits these hold.
fn held(locks: &[LockRow], permits: u32) -> usize {
    let slots = (1..=permits).map(|number| AdvisoryLock::new(NAME).keys()[0].slot(number));
    let slots: Vec<_> = slots.map(Key::to_pg_locks).collect();
    let is_slot = |lock: &&LockRow| {
        lock.granted && slots.contains(&(lock.classid, lock.objid, lock.objsubid))
    };
    locks.iter().filter(is_slot).count()
}
