//! A job of tokio-cron-scheduler's that runs once in the fleet.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_recipes::cron::{report, schedule};
use advisory_tests::{Database, another_pool, scalar};
use futures_util::future::try_join_all;
use sqlx::{Executor as _, PgPool};

const TABLES: &str = "CREATE TABLE shop_order (id bigint);
    INSERT INTO shop_order VALUES (1), (2);
    CREATE TABLE report (day date PRIMARY KEY, orders bigint)";

async fn set_up() -> (Database, PgPool) {
    let (database, pool) = Database::with_pool(5).await;
    pool.execute(TABLES).await.unwrap();
    (database, pool)
}

#[tokio::test]
async fn scheduled_job_runs_in_one_instance_of_the_fleet() {
    let (database, pool) = set_up().await;
    let pools = [(); 3].map(|()| another_pool(&pool));
    let schedulers = pools
        .iter()
        .map(|pool| schedule(pool.clone(), "* * * * * *"));
    let mut schedulers = try_join_all(schedulers).await.unwrap();
    let reports = "SELECT count(*) FROM report WHERE orders = 2";
    let made = async {
        while scalar::<i64>(&pool, reports).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_mins(1);
    tokio::time::timeout(limit, made).await.expect("a report");
    // Each instance has tried since: another call is answered by the mark.
    for pool in &pools {
        let lock = AdvisoryLock::new("daily report").timeout(Duration::from_secs(20));
        lock.begin(pool).await.unwrap().commit().await.unwrap();
        assert_eq!(report(pool).await.unwrap(), None);
    }
    for scheduler in &mut schedulers {
        scheduler.shutdown().await.unwrap();
    }
    assert_eq!(scalar::<i64>(&pool, "SELECT count(*) FROM report").await, 1);
    drop(database);
}

#[tokio::test]
async fn calls_at_once_make_one_report() {
    let (database, pool) = set_up().await;
    let pools = [(); 3].map(|()| another_pool(&pool));
    let made = try_join_all(pools.iter().map(report)).await.unwrap();
    assert_eq!(made.iter().flatten().count(), 1, "{made:?}");
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn job_is_skipped_while_another_instance_runs_it() {
    let (_database, pool) = set_up().await;
    let running = AdvisoryLock::new("daily report").begin(&pool).await;
    assert_eq!(report(&pool).await.unwrap(), None);
    running.unwrap().rollback().await.unwrap();
    assert_eq!(report(&pool).await.unwrap(), Some(()));
}
