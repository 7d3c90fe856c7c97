//! An instance that is told to end.

use advisory_core::AdvisoryLock;
use nix::sys::signal::Signal;

use crate::client;
use crate::fleet::{Fleet, nothing_is_left, rows};
use crate::lead_log::until;

#[tokio::test]
async fn it_finishes_what_has_begun_takes_nothing_more_and_gives_up_leadership() {
    let Fleet {
        database,
        pool,
        one,
        two,
    } = Fleet::start(&[]).await;
    let first = AdvisoryLock::new("webhook:github:7")
        .begin(&pool)
        .await
        .unwrap();
    let (address, delivered) = (one.address, client::deliver(one.address, "7"));
    let delivered = tokio::spawn(delivered);
    database.wait_until_waiting(1).await;

    one.signal(Signal::SIGTERM);
    one.until_closed().await;
    let led_by_two =
        |terms: &[crate::lead_log::Term]| terms.last().is_some_and(|term| term.instance == "two");
    until(&pool, "the other leads", led_by_two).await;
    assert!(client::get(address, "/healthz").await.is_err());

    first.commit().await.unwrap();
    let answer = delivered.await.unwrap().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(one.ended().await, Some(0));
    assert_eq!(rows(&pool, "7").await, 1);
    two.end().await;
    nothing_is_left(&database, &pool).await;
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
