//! Clients that disconnect.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::client;
use crate::fleet::{Fleet, hold_delivery, rows};

/// How long the clients may take to arrive. Longer is a hang.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);
/// More clients than one instance has connections.
const CLIENTS: usize = 20;

#[tokio::test]
async fn a_client_that_disconnects_during_its_wait_leaves_nothing() {
    let fleet = Fleet::start(&[]).await;
    let first = hold_delivery(&fleet.pool).await;
    // Repeats: if a connection was not returned to the pool, the second round could not complete.
    for _ in 0..3 {
        let deliveries = (0..CLIENTS).map(|_| client::begin_delivery(fleet.one.address, "7"));
        let clients = join_all(deliveries).await;
        // One waits on the server, and the others in memory.
        fleet.database.wait_until_waiting(1).await;
        let others = format!(
            "advisory_waiting{{scope=\"xact\",queue=\"process\"}} {}",
            CLIENTS - 1
        );
        let all_wait = async || {
            let metrics = fleet.one.get("/metrics").await.body;
            metrics.lines().any(|line| line == others)
        };
        let all_wait = async { while !all_wait().await {} };
        timeout(HANG_TIMEOUT, all_wait).await.unwrap();
        drop(clients);
        fleet.database.wait_until_waiting(0).await;
    }
    let idle = |name: &str, in_transaction: bool| !name.starts_with("one") || !in_transaction;
    fleet
        .database
        .wait_until_backends("no transaction of the service", |backends| {
            let mut backends = backends.iter();
            backends.all(|backend| idle(&backend.application_name, backend.in_transaction))
        })
        .await;
    first.commit().await.unwrap();
    assert_eq!(
        rows(&fleet.pool, "7").await,
        0,
        "no request was left to create the row"
    );

    let answer = client::deliver(fleet.one.address, "7").await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    let metrics = fleet.one.get("/metrics").await.body;
    let dropped = "advisory_acquire_total{scope=\"xact\",outcome=\"dropped\"} 60";
    assert!(metrics.lines().any(|line| line == dropped), "{metrics}");
    fleet.shut_down().await;
}
