//! Sessions that hold locks or wait for them.

use advisory_core::{AdvisoryLock, Error, lock};
use advisory_tests::{Database, LockRow};
use sqlx::{Executor as _, PgConnection};
use tokio::task::JoinHandle;

use crate::command::{Outcome, assert_contains};
use crate::session;

/// A connection that holds a lock, and its process id.
pub(crate) async fn holder(database: &Database, name: &str) -> (PgConnection, String) {
    let mut conn = database.connection().await;
    lock(&mut conn, name).await.unwrap();
    let pid = pid(&mut conn).await;
    (conn, pid)
}

pub(crate) async fn pid(conn: &mut PgConnection) -> String {
    session::pid(conn).await.to_string()
}

/// A task that waits for a lock in a transaction.
pub(crate) async fn waiter(
    database: &Database,
    name: &'static str,
) -> JoinHandle<Result<(), Error>> {
    let pool = database.pool(1).await;
    let before = count_waiting(&database.advisory_locks().await);
    let waiter = tokio::spawn(async move {
        let tx = AdvisoryLock::new(name).begin(&pool).await?;
        tx.rollback().await?;
        Ok(())
    });
    database.wait_until_waiting(before + 1).await;
    waiter
}

pub(crate) fn count_waiting(locks: &[LockRow]) -> usize {
    locks.iter().filter(|lock| !lock.granted).count()
}

pub(crate) async fn assert_alive(conn: &mut PgConnection) {
    conn.execute("SELECT 1").await.unwrap();
}

/// Checks that so many sessions were `cancelled` or `terminated`.
#[track_caller]
pub(crate) fn assert_count(outcome: &Outcome, done: &str, count: usize) {
    assert_eq!(outcome.text().matches(done).count(), count, "{outcome:?}");
}

#[track_caller]
pub(crate) fn assert_done(outcome: &Outcome, texts: &[&str]) {
    outcome.assert_silent(0);
    assert_contains(outcome.text(), texts);
}
