//! Through pgpool-II, which takes the end of a backend for the failure of the primary.

use advisory_core::{lock, monitor};
use advisory_tests::{Database, Pgpool};
use sqlx::{Connection as _, PgConnection};

use super::session::{assert_done, pid};
use crate::command::advisory_as;

/// A holder that is connected through pgpool-II, too.
async fn holder_behind(pgpool: &Pgpool) -> (PgConnection, String) {
    let mut conn = PgConnection::connect_with(&pgpool.options()).await.unwrap();
    lock(&mut conn, 42).await.unwrap();
    let pid = pid(&mut conn).await;
    (conn, pid)
}

#[tokio::test]
async fn ending_a_session_behind_pgpool_does_not_make_it_fail_over() {
    let database = Database::new().await;
    let Some(pgpool) = Pgpool::try_start(&database).await else {
        return;
    };
    for arguments in [&["--name", "42", "--key"][..], &[]] {
        let (_conn, pid) = holder_behind(&pgpool).await;
        let which = if arguments.is_empty() {
            vec![&*pid]
        } else {
            arguments.to_vec()
        };
        let command = [&["terminate", "--yes"], &*which].concat();
        let outcome = advisory_as(&pgpool.options(), &command).await;
        assert_done(&outcome, &[&format!("terminated {pid}"), "42 is free"]);
        assert!(database.advisory_locks().await.is_empty());
        assert!(!pgpool.has_failed_over());
    }
    // The library's own function, and pgpool-II still serves.
    let (_conn, pid) = holder_behind(&pgpool).await;
    let mut conn = PgConnection::connect_with(&pgpool.options()).await.unwrap();
    let ended = monitor::terminate(&mut conn, pid.parse().unwrap()).await;
    assert!(ended.unwrap());
    database.wait_until_held(0).await;
    conn.ping().await.unwrap();
    assert!(!pgpool.has_failed_over());
}
