//! The table with the marks.

use advisory_core::{AdvisoryLock, Error, Periods, UnsupportedReason};
use advisory_tests::{Database, another_pool};
use advisory_verbs::unsupported;
use futures_util::future::try_join_all;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, PgTransaction};

use super::{LONG, database, job};

#[tokio::test]
async fn many_instances_create_it_at_once() {
    let (_database, pool) = Database::with_pool(8).await;
    let creates = (0..8).map(|_| Periods::create(&pool));
    try_join_all(creates).await.unwrap();
    Periods::create(&another_pool(&pool)).await.unwrap();
    let ran = job().transaction(&pool, async |_| Ok::<_, Error>(7)).await;
    assert_eq!(ran.unwrap(), Some(7));
}

#[tokio::test]
async fn a_missing_table_is_an_error_that_has_the_statement_to_create_it() {
    let (database, pool) = Database::with_pool(3).await;
    let missing = Periods::in_table("Marks \"of\" jobs").schema("jobs");
    let lock = || AdvisoryLock::new("job").every(LONG).periods(&missing);
    let errors = [
        lock()
            .transaction(&pool, async |_| Ok::<_, Error>(7))
            .await
            .unwrap_err(),
        lock()
            .session(&pool, async |_| Ok::<_, Error>(7))
            .await
            .unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        let UnsupportedReason::PeriodTableMissing { ddl, .. } = unsupported(&error) else {
            panic!("{text}");
        };
        assert!(
            text.contains(ddl) && text.contains("`Periods::create`"),
            "{text}"
        );
    }
    pool.execute("CREATE SCHEMA jobs").await.unwrap();
    pool.execute(AssertSqlSafe(missing.ddl())).await.unwrap();
    missing.create_in(&pool).await.unwrap();
    for expected in [Some(7), None] {
        let ran = lock().transaction(&pool, async |_| Ok::<_, Error>(7)).await;
        assert_eq!(ran.unwrap(), expected);
    }
    database.assert_nothing_leaked(&pool).await;
}

/// Of a primary too, sessions can be read-only, and then the mark cannot be written.
#[tokio::test]
async fn a_read_only_session_is_not_taken_for_a_standby() {
    let (database, _pool) = database().await;
    let read_only = [("default_transaction_read_only", "on")];
    let pool = PgPool::connect_with(database.options().options(read_only));
    let pool = pool.await.unwrap();
    let body = async |_: &mut PgTransaction<'_>| Ok::<_, Error>(7);
    for error in [
        job().transaction(&pool, body).await.unwrap_err(),
        job()
            .session(&pool, async |_| Ok::<_, Error>(7))
            .await
            .unwrap_err(),
    ] {
        let Error::Database(sqlx::Error::Database(error)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.code().as_deref(), Some("25006"), "{error}");
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn several_holders_are_refused() {
    let (database, pool) = database().await;
    let job = AdvisoryLock::new("job");
    for lock in [job.clone().shared(), job.permits(2)] {
        let job = lock.every(LONG);
        let in_transaction = job.transaction(&pool, async |_| Ok::<_, Error>(())).await;
        let in_session = job.session(&pool, async |_| Ok::<_, Error>(())).await;
        for refused in [in_transaction, in_session] {
            unsupported(&refused.unwrap_err());
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_job_is_known_by_its_key_and_not_by_its_name() {
    let (_database, pool) = database().await;
    let by_name = AdvisoryLock::new("foo").every(LONG);
    let by_key = AdvisoryLock::new(-2_661_838_577_447_997_941_i64).every(LONG);
    let pair = AdvisoryLock::all([AdvisoryLock::new((1, 7)), 7.into()]).every(LONG);
    for (job, expected) in [(by_name, Some(7)), (by_key, None), (pair, Some(7))] {
        let ran = job.transaction(&pool, async |_| Ok::<_, Error>(7)).await;
        assert_eq!(ran.unwrap(), expected);
    }
}
