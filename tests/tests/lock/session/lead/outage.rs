//! A leader survives the absence of its server, however long it is.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::{Database, Server, Shutdown};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::task::block_in_place;

use super::{Place, lock, while_it_leads};

/// A pool that gives up long before the outages of these tests end.
fn impatient(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy_with(options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_leads_again_after_a_restart_and_after_an_outage_that_outlasts_the_pool() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    for place in Place::both(&impatient(database.options())) {
        while_it_leads(&place, &lock(), async |numbers| {
            let mut last = numbers.recv().await.unwrap();
            for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Kill] {
                server.restart(how).await;
                let next = numbers.recv().await.unwrap();
                assert!(next > last, "{next} after {last}");
                last = next;
            }
            server.stop(Shutdown::Fast).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            server.restart(Shutdown::Fast).await;
            assert!(numbers.recv().await.unwrap() > last);
        })
        .await;
        place.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_starts_before_its_server_leads_when_it_is_there() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    server.stop(Shutdown::Fast).await;
    for place in Place::both(&impatient(database.options())) {
        while_it_leads(&place, &lock(), async |numbers| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            server.restart(Shutdown::Fast).await;
            numbers.recv().await.unwrap();
            server.stop(Shutdown::Fast).await;
        })
        .await;
        place.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_on_a_standby_leads_when_the_standby_is_promoted() {
    let primary = block_in_place(Server::start).unwrap();
    let database = Database::on(&primary).await;
    let standby = block_in_place(|| primary.standby()).unwrap();
    let pool = impatient(Database::at(&standby, &database).options());
    let place = Place::Pool(pool);
    let lock = AdvisoryLock::new("leader").polling(Duration::from_millis(20));
    while_it_leads(&place, &lock, async |numbers| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(numbers.try_recv().is_err(), "a standby has no leader");
        primary.stop(Shutdown::Fast).await;
        standby.promote().await;
        numbers.recv().await.unwrap();
    })
    .await;
}
