//! A lock with several permits: its waiters are in the queue, and its holders have slots.

use advisory_tests::Database;

use super::session::{assert_count, assert_done};
use crate::command::advisory;
use crate::export::{Crowd, export, wait_until_queued};

#[tokio::test]
async fn cancel_ends_the_waits_for_a_permit_and_terminate_frees_the_permits() {
    let database = Database::new().await;
    let Crowd { held, waiters } = Crowd::gather(&database).await;
    let outcome = advisory(&database, &["cancel", "--name", "export", "--yes"]).await;
    assert_done(&outcome, &["cancelled"]);
    assert_count(&outcome, "cancelled", 2);
    for waiter in waiters {
        waiter.await.unwrap().unwrap_err();
    }
    wait_until_queued(&database, 0).await;
    let arguments = ["terminate", "--name", "slot 2 of export", "--yes"];
    let outcome = advisory(&database, &arguments).await;
    assert_done(&outcome, &["terminated", "is free"]);
    assert_eq!(database.advisory_locks().await.len(), 1);
    let refused = advisory(&database, &arguments).await;
    refused.assert_only_fails(1, "nobody holds advisory lock `slot 2 of export`");
    let pool = database.pool(1).await;
    let third = export().acquire(&pool).await.unwrap();
    let outcome = advisory(&database, &["terminate", "--name", "export", "--yes"]).await;
    assert_done(&outcome, &["terminated", "is free"]);
    assert_count(&outcome, "terminated", 2);
    assert_eq!(database.advisory_locks().await, []);
    drop((held, third));
}
