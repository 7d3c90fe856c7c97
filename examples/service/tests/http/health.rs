//! The health checks.

use advisory_tests::{Database, Server, Shutdown};

use crate::client;
use crate::fleet::{assert_nothing_is_left, hold_delivery};
use crate::instance::Instance;
use crate::term::wait_until;

#[tokio::test]
async fn an_instance_is_ready_only_while_its_database_runs() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let one = Instance::start(&database, "one", &[]).await;
    one.wait_until_status("/healthz", 200).await;
    let pool = database.pool(1).await;
    let before = wait_until(&pool, "a leader", |terms| !terms.is_empty()).await;

    server.stop(Shutdown::Fast).await;
    one.wait_until_status("/healthz", 503).await;
    assert_eq!(
        one.get("/healthz/live").await.status,
        200,
        "the process is alive"
    );
    let answer = client::deliver(one.address, "7").await.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after.as_deref()),
        (503, Some("1")),
        "{answer:?}"
    );

    server.restart(Shutdown::Fast).await;
    one.wait_until_status("/healthz", 200).await;
    wait_until(&pool, "a leader of the new server", |terms| {
        terms.len() > before.len()
    })
    .await;
    one.shut_down().await;
}

#[tokio::test]
async fn an_instance_is_not_ready_while_every_connection_waits_for_a_lock() {
    let database = Database::new().await;
    let one = Instance::start(&database, "one", &["--max-connections", "1"]).await;
    let pool = database.pool(1).await;
    let first = hold_delivery(&pool).await;
    let (answer, ()) = tokio::join!(client::deliver(one.address, "7"), async {
        database.wait_until_waiting(1).await;
        let unready = one.get("/healthz").await;
        assert_eq!(unready.status, 503, "{unready:?}");
        first.commit().await.unwrap();
    });
    assert_eq!(answer.unwrap().status, 201);
    one.wait_until_status("/healthz", 200).await;
    one.shut_down().await;
    assert_nothing_is_left(&database, &pool).await;
}
