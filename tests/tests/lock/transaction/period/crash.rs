//! A run whose connection breaks at any point is done exactly once in the end.

use advisory_core::{AdvisoryLock, Error, Periods};
use advisory_tests::{Cut, Database, Proxy, Side, by_depth, scalar};
use sqlx::Executor as _;

use super::LONG;

/// Runs the job with a fault after the n-th message, then without one, until it is done. The work
/// of a transaction is there once, whatever happens between the work and the mark.
async fn assert_exactly_once(n: usize, side: Side, database: &Database, proxy: &Proxy) -> bool {
    let direct = database.pool(2).await;
    let clean = "TRUNCATE work; DELETE FROM advisory_period";
    sqlx::raw_sql(clean).execute(&direct).await.unwrap();
    let job = AdvisoryLock::new("job").every(LONG);
    let pool = proxy.pool(1).await;
    let work = async |tx: &mut sqlx::PgTransaction<'_>| {
        let insert = sqlx::raw_sql("INSERT INTO work VALUES (1)");
        insert.execute(&mut **tx).await?;
        Ok::<_, Error>(())
    };
    proxy.cut_after(side, n, Cut::Reset);
    let first = job.transaction(&pool, work).await;
    let has_cut = proxy.has_cut();
    proxy.disarm();
    let second = job.transaction(&direct, work).await.unwrap();
    let done: i64 = scalar(&direct, "SELECT count(*) FROM work").await;
    assert_eq!(done, 1, "{side:?} {n}: {first:?}, then {second:?}");
    has_cut
}

#[tokio::test]
async fn a_connection_that_breaks_at_any_message_does_the_work_once() {
    let database = Database::new().await;
    let direct = database.pool(1).await;
    Periods::create(&direct).await.unwrap();
    direct.execute("CREATE TABLE work (id int)").await.unwrap();
    let proxy = Proxy::start(&database).await;
    for side in [Side::Client, Side::Server] {
        let mut n = 1;
        while assert_exactly_once(n, side, &database, &proxy).await {
            n += by_depth(2, 1);
        }
        assert!(n > 3, "{side:?}: the messages were counted");
    }
}
