//! Locks with several permits: never more holders than permits, always as many while there is work,
//! in the order of the queue, and none lost.

mod attribute;
mod count;
mod fault;
mod process;
mod queue;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
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

/// How many waiters there are: one in the front of the queue, which looks for a free slot, and
/// those behind it.
async fn wait_until_queueing(database: &Database, waiters: usize) {
    let turnstile = AdvisoryLock::new(NAME).keys()[0].slot(0);
    let (classid, objid, objsubid) = turnstile.to_pg_locks();
    let what = format!("{waiters} in the queue");
    database
        .wait_until_locks(&what, |locks| {
            let queueing = locks.iter().filter(|lock| {
                (lock.classid, lock.objid, lock.objsubid) == (classid, objid, objsubid)
            });
            queueing.count() == waiters
        })
        .await;
}
