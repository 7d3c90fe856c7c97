//! Graceful shutdown.

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use nix::sys::signal::Signal;

use crate::client;
use crate::fleet::{Fleet, Led, assert_nothing_is_left, hold_delivery, rows};
use crate::instance::{Instance, exit_code, send};

#[tokio::test]
async fn shutdown_finishes_requests_refuses_connections_and_releases_leadership() {
    let fleet = Led::start(&[]).await;
    let first = hold_delivery(&fleet.pool).await;
    let delivered = tokio::spawn(client::deliver(fleet.leader.address, "7"));
    fleet.database.wait_until_waiting(1).await;

    fleet.leader.signal(Signal::SIGTERM);
    fleet.leader.wait_until_closed().await;
    fleet.wait_until_other_leads().await;

    first.commit().await.unwrap();
    let answer = delivered.await.unwrap().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(fleet.leader.exit_code().await, Some(0));
    assert_eq!(rows(&fleet.pool, "7").await, 1);
    fleet.other.shut_down().await;
    assert_nothing_is_left(&fleet.database, &fleet.pool).await;
}

#[tokio::test]
async fn requests_past_the_grace_period_are_dropped_and_leave_nothing() {
    let Fleet {
        database,
        pool,
        one,
        two,
    } = Fleet::start(&["--grace", "0.1"]).await;
    let first = hold_delivery(&pool).await;
    let delivered = tokio::spawn(client::deliver(one.address, "7"));
    database.wait_until_waiting(1).await;

    one.signal(Signal::SIGINT);
    assert_eq!(one.exit_code().await, Some(0));
    assert!(
        delivered.await.unwrap().is_err(),
        "the connection is closed without a response"
    );
    database.wait_until_waiting(0).await;
    first.commit().await.unwrap();
    assert_eq!(rows(&pool, "7").await, 0);
    two.shut_down().await;
    assert_nothing_is_left(&database, &pool).await;
}

#[tokio::test]
async fn an_instance_that_is_starting_shuts_down() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let migration = AdvisoryLock::new("service:schema").begin(&pool).await;
    let starting = Instance::spawn(&database, "one", &[]);
    database.wait_until_waiting(1).await;
    send(&starting, Signal::SIGTERM);
    assert_eq!(exit_code(starting).await, Some(0));
    migration.unwrap().rollback().await.unwrap();
    assert_nothing_is_left(&database, &pool).await;
}
