//! An instance that is told to end.

use advisory_core::AdvisoryLock;
use nix::sys::signal::Signal;

use crate::client;
use crate::fleet::{Fleet, Led, nothing_is_left, rows};

#[tokio::test]
async fn it_finishes_what_has_begun_takes_nothing_more_and_gives_up_leadership() {
    let fleet = Led::start(&[]).await;
    let lock = AdvisoryLock::new("webhook:github:7");
    let first = lock.begin(&fleet.pool).await.unwrap();
    let delivered = tokio::spawn(client::deliver(fleet.leader.address, "7"));
    fleet.database.wait_until_waiting(1).await;

    fleet.leader.signal(Signal::SIGTERM);
    fleet.leader.until_closed().await;
    fleet.until_other_leads().await;

    first.commit().await.unwrap();
    let answer = delivered.await.unwrap().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(fleet.leader.ended().await, Some(0));
    assert_eq!(rows(&fleet.pool, "7").await, 1);
    fleet.other.end().await;
    nothing_is_left(&fleet.database, &fleet.pool).await;
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off_and_leaves_nothing() {
    let Fleet {
        database,
        pool,
        one,
        two,
    } = Fleet::start(&["--grace", "0.1"]).await;
    let first = AdvisoryLock::new("webhook:github:7")
        .begin(&pool)
        .await
        .unwrap();
    let delivered = tokio::spawn(client::deliver(one.address, "7"));
    database.wait_until_waiting(1).await;

    one.signal(Signal::SIGINT);
    assert_eq!(one.ended().await, Some(0));
    assert!(delivered.await.unwrap().is_err(), "nobody answers");
    database.wait_until_waiting(0).await;
    first.commit().await.unwrap();
    assert_eq!(rows(&pool, "7").await, 0);
    two.end().await;
    nothing_is_left(&database, &pool).await;
}
