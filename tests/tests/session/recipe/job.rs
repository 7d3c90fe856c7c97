//! "A job that runs once".

use advisory_core::{Error, Periods, advisory};
use sqlx::PgPool;

use advisory_tests::{Database, Server, Shutdown, another_pool, scalar};
use tokio::task::block_in_place;

/// Once a day by the server's clock, at any time and on any instance.
#[advisory(key = "nightly-report", every = "1d", scope = session)]
async fn nightly_report(pool: &PgPool) -> Result<(), Error> {
    build_report(pool).await
}

/// Its writes and the mark of the day are one transaction.
#[advisory(key = "expire", every = "1d", tx)]
async fn expire(pool: &PgPool) -> Result<Option<u64>, Error> {
    let delete = sqlx::query("DELETE FROM login WHERE expires < now()");
    Ok(Some(delete.execute(&mut **tx).await?.rows_affected()))
}

async fn build_report(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("INSERT INTO report DEFAULT VALUES")
        .execute(pool)
        .await?;
    Ok(())
}

#[test]
fn it_is_the_recipe() {
    super::assert_is_recipe("A job that runs once", include_str!("job.rs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_once_and_a_server_that_is_away_leaves_the_day_open() {
    let server = block_in_place(Server::start).unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(3).await;
    let tables = "CREATE TABLE report (id int); CREATE TABLE login (expires timestamptz); \
         INSERT INTO login VALUES ('-infinity')";
    sqlx::raw_sql(tables).execute(&pool).await.unwrap();
    Periods::create(&pool).await.unwrap();
    server.stop(Shutdown::Fast).await;
    let impatient = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(std::time::Duration::from_millis(200))
        .connect_lazy_with(database.options());
    nightly_report(&impatient).await.unwrap_err();
    expire(&impatient).await.unwrap_err();
    server.restart(Shutdown::Fast).await;
    assert_eq!(expire(&pool).await.unwrap(), Some(1));
    for pool in [pool.clone(), another_pool(&pool)] {
        nightly_report(&pool).await.unwrap();
        nightly_report(&pool).await.unwrap();
        assert_eq!(expire(&pool).await.unwrap(), None);
    }
    assert_eq!(scalar::<i64>(&pool, "SELECT count(*) FROM report").await, 1);
}
