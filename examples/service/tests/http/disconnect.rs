//! Clients that disconnect.

use advisory_core::AdvisoryLock;
use futures_util::future::join_all;

use crate::client;
use crate::fleet::{Fleet, rows};

/// As many clients as one instance has connections.
const CLIENTS: usize = 10;

#[tokio::test]
async fn a_client_that_disconnects_during_its_wait_leaves_nothing() {
    let fleet = Fleet::start(&[]).await;
    let first = AdvisoryLock::new("webhook:github:7")
        .begin(&fleet.pool)
        .await
        .unwrap();
    // Repeats: if a connection was not returned to the pool, the second round could not complete.
    for _ in 0..3 {
        let deliveries = (0..CLIENTS).map(|_| client::begin_delivery(fleet.one.address, "7"));
        let clients = join_all(deliveries).await;
        fleet.database.wait_until_waiting(CLIENTS).await;
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
    let dropped = "advisory_acquire_total{scope=\"xact\",outcome=\"dropped\"} 30";
    assert!(metrics.lines().any(|line| line == dropped), "{metrics}");
    fleet.shut_down().await;
}
