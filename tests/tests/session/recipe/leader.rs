//! "A leader".

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Term};
use sqlx::PgPool;
use tokio::time::sleep;

use advisory_tests::{Database, Depth, Server, Shutdown, another_pool, scalar};
use sqlx::postgres::PgPoolOptions;
use tokio::task::block_in_place;
use tokio::time::timeout;

/// Runs as long as the process does.
async fn lead_sweeps(pool: &PgPool) -> Result<(), Error> {
    let lock = AdvisoryLock::new("sweeper").tag_session();
    lock.lead(pool, async |term: Term| {
        loop {
            // A sweep that fails does not end the leadership.
            if let Err(error) = sweep(pool, term.number()).await {
                tracing::warn!(%error, "a sweep has failed");
            }
            sleep(Duration::from_secs(10)).await;
        }
    })
    .await
}

async fn sweep(pool: &PgPool, fence: i64) -> Result<(), Error> {
    let update = sqlx::query("UPDATE sweep SET fence = $1, sweeps = sweeps + 1 WHERE fence <= $1");
    update.bind(fence).execute(pool).await?;
    Ok(())
}

#[test]
fn it_is_the_recipe() {
    super::assert_is_recipe("A leader", include_str!("leader.rs"));
}

async fn wait_for_sweeps(database: &Database, count: i64) {
    let reached = async {
        let mut conn = database.connection().await;
        while scalar::<i64>(&mut conn, "SELECT sweeps FROM sweep").await < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = timeout(Duration::from_mins(2), reached).await;
    reached.expect("the leader sweeps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_leads_again_after_a_restart_and_after_an_outage_that_outlasts_the_pool() {
    // N seconds without a server, where the pool gives up after fewer.
    let (outage, patience) = match Depth::of_run() {
        Depth::Full => (48, 30),
        Depth::Short => (4, 2),
    };
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(patience));
    let pool = pool.connect_with(database.options()).await.unwrap();
    let table = "CREATE TABLE sweep (fence bigint, sweeps bigint); INSERT INTO sweep VALUES (0, 0)";
    sqlx::raw_sql(table).execute(&pool).await.unwrap();
    let other = another_pool(&pool);
    let story = async {
        wait_for_sweeps(&database, 1).await;
        server.restart(Shutdown::Fast).await;
        wait_for_sweeps(&database, 2).await;
        server.stop(Shutdown::Immediate).await;
        sleep(Duration::from_secs(outage)).await;
        server.restart(Shutdown::Fast).await;
        wait_for_sweeps(&database, 3).await;
    };
    tokio::select! {
        led = lead_sweeps(&pool) => panic!("it has ended: {led:?}"),
        led = lead_sweeps(&other) => panic!("it has ended: {led:?}"),
        () = story => {}
    }
}
