//! A nightly job is started on every instance of a service, and runs on one.
//!
//! With `timeout = 0` the function does not wait for the lock. With `side_effect = Skip` it returns
//! at once if the lock is held, here with the `None` of `Option`. The instance that acquires the
//! lock first runs the job.
//!
//! The output shows that every instance writes the report without the lock, and that one instance
//! writes it with the lock.
//!
//! ```text
//! cargo run --example singleton_job
//! ```

use std::future::ready;

use advisory_core::advisory;
use advisory_tests::Database;
use futures_util::future::join_all;
use sqlx::{PgPool, query, query_scalar};
use tokio::sync::Semaphore;

const INSTANCES: u32 = 5;

/// Writes the report and returns its number, or returns `None` if another instance is writing it.
///
/// The attribute sets no key, so the key is the path of the function:
/// `singleton_job::nightly_report`.
#[advisory(timeout = 0, side_effect = Skip, tx)]
pub(crate) async fn nightly_report(
    pool: &PgPool,
    work: impl Future<Output = ()>,
) -> Result<Option<i64>, sqlx::Error> {
    work.await;
    let write = query_scalar("INSERT INTO report DEFAULT VALUES RETURNING id");
    write.fetch_one(&mut **tx).await.map(Some)
}

/// Writes the report without the lock.
pub(crate) async fn nightly_report_unlocked(
    pool: &PgPool,
    work: impl Future<Output = ()>,
) -> Result<Option<i64>, sqlx::Error> {
    work.await;
    let write = query_scalar("INSERT INTO report DEFAULT VALUES RETURNING id");
    write.fetch_one(pool).await.map(Some)
}

/// Creates the table.
pub(crate) async fn set_up(pool: &PgPool) -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE report (id bigint GENERATED ALWAYS AS IDENTITY)";
    query(table).execute(pool).await.map(drop)
}

/// Counts the reports.
pub(crate) async fn reports(pool: &PgPool) -> Result<i64, sqlx::Error> {
    query_scalar("SELECT count(*) FROM report")
        .fetch_one(pool)
        .await
}

#[tokio::main]
async fn main() -> Result<(), sqlx::Error> {
    let database = Database::new().await; // on a private server, started for this example
    // In production every instance is a separate process, so each has a separate pool here.
    let instances = join_all((0..INSTANCES).map(|_| database.pool(1))).await;
    set_up(&instances[0]).await?;
    println!("{INSTANCES} instances start the job at the same time");

    let runs = instances
        .iter()
        .map(|pool| nightly_report_unlocked(pool, ready(())));
    let results = join_all(runs).await;
    let written = reports(&instances[0]).await?;
    println!("without the lock: {written} reports");
    assert_eq!(written, 5, "{results:?}");

    // The job runs until all other instances have been skipped.
    let skipped = Semaphore::new(0);
    let runs = instances.iter().map(|pool| async {
        let others_are_skipped = async { drop(skipped.acquire_many(INSTANCES - 1).await) };
        let report = nightly_report(pool, others_are_skipped).await?;
        if report.is_none() {
            skipped.add_permits(1);
        }
        Ok::<_, sqlx::Error>(report)
    });
    query("TRUNCATE report").execute(&instances[0]).await?;
    let results = join_all(runs).await;
    println!("with the lock:    {} report", reports(&instances[0]).await?);
    for (instance, result) in (1..).zip(&results) {
        match result {
            Ok(Some(_)) => println!("  instance {instance} wrote it"),
            Ok(None) => println!("  instance {instance} was skipped"),
            Err(error) => println!("  instance {instance} failed: {error}"),
        }
    }
    let wrote = results
        .iter()
        .filter(|result| matches!(result, Ok(Some(_))));
    assert_eq!(wrote.count(), 1, "one instance ran it");
    assert_eq!(reports(&instances[0]).await?, 1, "there is one report");

    // The lock is free after the end of the job.
    let next = nightly_report(&instances[1], ready(())).await?;
    assert!(next.is_some(), "the next run is not skipped");
    Ok(())
}
