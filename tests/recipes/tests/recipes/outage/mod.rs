//! Every recipe works again after a restart and after an outage of its server, with the pools and
//! the sessions that it had before.
//!
//! The code of the recipes is that of docs/RECIPES.md: see `build.rs`.

mod fleet;
mod progress;
mod recipe;

use std::time::Duration;

use advisory_tests::{Database, Server, Shutdown, by_depth, scalar};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

use self::progress::{end_work, wait_for_each};

/// Longer than each part takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(3);

/// The tables of the recipes.
const TABLES: &str = "CREATE TABLE delivery (id text PRIMARY KEY, event text);
    CREATE TABLE night (day date PRIMARY KEY);
    CREATE TABLE login (expires timestamptz); INSERT INTO login VALUES ('-infinity');
    CREATE TABLE account (id bigint, cents bigint); INSERT INTO account VALUES (1, 0), (2, 0);
    CREATE TABLE sweep (fence bigint, sweeps bigint); INSERT INTO sweep VALUES (0, 0);
    CREATE TABLE item (id bigint); INSERT INTO item VALUES (1);
    CREATE TABLE shop_order (id bigint, shipped bool); CREATE TABLE report (day date PRIMARY KEY, orders bigint);
    CREATE TABLE answer (key text PRIMARY KEY, status int NOT NULL, body bytea NOT NULL)";

async fn set_up(database: &Database) {
    let pool = database.pool(1).await;
    sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
    advisory_core::Periods::create(&pool).await.unwrap();
    pool.close().await;
}

/// The pool of an instance, which gives up before an outage ends.
fn pool(database: &Database, patience: Duration) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(20);
    pool.acquire_timeout(patience)
        .connect_lazy_with(database.options())
}

/// A restart, and an outage.
async fn story(server: &Server, outage: Duration) {
    wait_for_each("before").await;
    for (how, pause) in [
        (Shutdown::Fast, Duration::ZERO),
        (Shutdown::Immediate, outage),
    ] {
        server.stop(how).await;
        progress::forget();
        sleep(pause).await;
        server.restart(how).await;
        wait_for_each(&format!("after {pause:?} without a server")).await;
    }
    end_work();
    progress::forget();
    // The recipe pauses for ten seconds between two sweeps.
    progress::done("sweep of the leader");
    wait_for_each("in the end").await;
}

/// What was to be done once is done once, and what was to be done together was.
async fn assert_done(database: &Database) {
    let pool = database.pool(1).await;
    let count = async |query| scalar::<i64>(&pool, query).await;
    assert_eq!(count("SELECT count(*) FROM login").await, 0);
    // More than one if midnight has passed.
    assert!((1..=2).contains(&count("SELECT count(*) FROM night").await));
    assert_eq!(count("SELECT sum(cents)::int8 FROM account").await, 0);
    assert!(count("SELECT cents FROM account WHERE id = 2").await >= 50_000);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recipe_works_again_after_a_restart_and_after_an_outage_that_outlasts_the_pool() {
    let (outage, patience) = by_depth((4, 2), (48, 30));
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    set_up(&database).await;
    let mut tasks = JoinSet::new();
    let mut instances = Vec::new();
    for _ in 0..2 {
        let pool = pool(&database, Duration::from_secs(patience));
        instances.push((fleet::start(&mut tasks, &pool).await, pool));
    }
    tokio::select! {
        ended = tasks.join_next() => panic!("it has ended: {ended:?}"),
        ended = timeout(HANG_TIMEOUT, story(&server, Duration::from_secs(outage))) => {
            ended.unwrap_or_else(|_| panic!("no progress: {}", progress::missing()));
        }
    }
    tasks.shutdown().await;
    for (scheduler, _) in &mut instances {
        scheduler.shutdown().await.unwrap();
    }
    database.wait_until_held(0).await;
    // sqlx leaves a transaction open whose `begin` was dropped.
    for (_, pool) in instances {
        pool.close().await;
    }
    assert_done(&database).await;
}
