//! In a transaction, the mark commits with the work.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, PeriodicLock};
use advisory_tests::{another_pool, scalar};
use advisory_verbs::with_connection;
use futures_util::future::join_all;
use sqlx::PgPool;

use super::{LONG, database, job, marks, next_period};

async fn run(job: &PeriodicLock, pool: &PgPool) -> Option<u32> {
    let ran = async || job.transaction(pool, async |_| Ok::<_, Error>(7)).await;
    with_connection(ran).await.unwrap()
}

#[tokio::test]
async fn a_job_runs_once_in_a_period_and_again_in_the_next_one() {
    let (database, pool) = database().await;
    for _ in 0..3 {
        assert_eq!(run(&job(), &pool).await, Some(7));
        assert_eq!(run(&job(), &pool).await, None);
        assert_eq!(run(&job(), &another_pool(&pool)).await, None);
        next_period(&pool).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn one_of_many_that_start_at_once_runs() {
    let (database, pool) = database().await;
    let pools: Vec<_> = (0..4).map(|_| another_pool(&pool)).collect();
    let (waits, tries) = (job(), job());
    let all = pools.iter().flat_map(|pool| {
        let (waits, tries) = (&waits, &tries);
        [
            Box::pin(async move { run(waits, pool).await })
                as futures_util::future::LocalBoxFuture<'_, _>,
            Box::pin(async move {
                let ran = tries
                    .try_transaction(pool, async |_| Ok::<_, Error>(7))
                    .await;
                ran.unwrap()
            }),
        ]
    });
    let ran: Vec<u32> = join_all(all).await.into_iter().flatten().collect();
    assert_eq!(ran, [7]);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_failure_leaves_the_period_to_the_one_that_waits() {
    let (database, pool) = database().await;
    let failing = job();
    let fails = failing.transaction(&pool, async |_| {
        database.wait_until_waiting(1).await;
        Err::<u32, Error>(Error::NotInTransaction)
    });
    let other = another_pool(&pool);
    let waits = async {
        database.wait_until_held(1).await;
        run(&job(), &other).await
    };
    let (failed, ran) = tokio::join!(fails, waits);
    assert!(failed.is_err());
    assert_eq!(ran, Some(7));
    assert_eq!(marks(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_mark_and_the_work_are_rolled_back_together() {
    let (database, pool) = database().await;
    let dropped = job();
    let dropped = dropped.transaction(&pool, async |_| {
        std::future::pending::<()>().await;
        Ok::<_, Error>(())
    });
    let state = database.wait_until_backends("a mark", |backends| {
        let marked = |query: &str| query.starts_with("INSERT INTO");
        backends
            .iter()
            .any(|backend| backend.in_transaction && marked(&backend.query))
    });
    advisory_tests::drop_when(state, dropped).await;
    database.wait_until_held(0).await;
    assert_eq!(marks(&pool).await, 0);
    assert_eq!(run(&job(), &pool).await, Some(7));
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_callers_transaction_decides_over_the_mark() {
    let (database, pool) = database().await;
    for is_committed in [false, true] {
        let mut tx = pool.begin().await.unwrap();
        assert!(job().acquire_xact(&mut tx).await.unwrap());
        assert!(!job().acquire_xact(&mut tx).await.unwrap(), "it is marked");
        assert!(!job().try_acquire_xact(&mut tx).await.unwrap());
        let _: i32 = scalar(&mut *tx, "SELECT 1").await;
        if is_committed {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(marks(&pool).await, i64::from(is_committed));
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_clock_is_read_after_the_wait_for_the_lock() {
    let (database, pool) = database().await;
    // The transaction begins in one period, and gets the lock in another one.
    let job = AdvisoryLock::new("job").every(Duration::from_millis(200));
    let holder = AdvisoryLock::new("job").begin(&pool).await.unwrap();
    let other = another_pool(&pool);
    let waits = job.transaction(&other, async |tx| {
        let is_later = "SELECT period > now() FROM advisory_period";
        Ok::<bool, Error>(scalar(&mut **tx, is_later).await)
    });
    let ends = async {
        database.wait_until_waiting(1).await;
        tokio::time::sleep(Duration::from_millis(450)).await;
        holder.rollback().await.unwrap();
    };
    let (ran, ()) = tokio::join!(waits, ends);
    let began_after_the_transaction = ran.unwrap().unwrap();
    assert!(began_after_the_transaction);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn periods_begin_at_midnight_utc_on_mondays_and_move_with_the_offset() {
    let (_database, pool) = database().await;
    let day = Duration::from_hours(24);
    let half_past_three = Duration::from_mins(210);
    for (name, job, expected) in [
        (
            "day",
            AdvisoryLock::new("day").every(day),
            "date_trunc('day', done_at, 'UTC')",
        ),
        (
            "week",
            AdvisoryLock::new("week").every(day * 7),
            "date_trunc('week', done_at, 'UTC')",
        ),
        (
            "offset",
            AdvisoryLock::new("offset")
                .every(day)
                .offset(half_past_three + day * 3),
            "date_trunc('day', done_at - interval '3:30', 'UTC') + interval '3:30'",
        ),
    ] {
        assert_eq!(run(&job, &pool).await, Some(7));
        let query =
            format!("SELECT period = {expected} FROM advisory_period WHERE name = '{name}'");
        let is_expected: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&pool)
            .await
            .unwrap();
        assert!(is_expected, "{name}");
    }
}

#[tokio::test]
async fn the_settings_of_the_session_and_hostile_names_change_nothing() {
    let (_database, pool) = database().await;
    let mut conn = pool.acquire().await.unwrap();
    for setting in [
        "SET TimeZone = 'Asia/Kathmandu'",
        "SET DateStyle = 'German'",
        "SET IntervalStyle = 'iso_8601'",
        "SET standard_conforming_strings = off",
        "SET client_min_messages = error",
    ] {
        sqlx::query(setting).execute(&mut *conn).await.unwrap();
    }
    for name in [
        "it's",
        "back\\slash",
        "\\'; DROP TABLE advisory_period; --",
        "東京",
        "nul\0",
        "",
    ] {
        use sqlx::Connection as _;
        let job = AdvisoryLock::new(name).every(super::LONG);
        for expected in [true, false] {
            let mut tx = conn.begin().await.unwrap();
            assert_eq!(
                job.acquire_xact(&mut tx).await.unwrap(),
                expected,
                "{name:?}"
            );
            tx.commit().await.unwrap();
        }
    }
    assert_eq!(marks(&pool).await, 6);
    let shifted = "SELECT bool_and(period = date_trunc('day', period, 'UTC')) FROM advisory_period";
    assert!(scalar::<bool>(&pool, shifted).await);
}

/// The row of the job is locked by an operator, say, who is about to delete it.
#[tokio::test]
async fn a_call_with_a_timeout_does_not_wait_for_the_mark_without_an_end() {
    let (database, pool) = database().await;
    assert_eq!(run(&job(), &pool).await, Some(7));
    next_period(&pool).await;
    let mut operator = another_pool(&pool).begin().await.unwrap();
    let locked = sqlx::query("SELECT FROM advisory_period FOR UPDATE");
    locked.execute(&mut *operator).await.unwrap();
    let lock = AdvisoryLock::new("job").response_timeout(Duration::from_secs(1));
    let job = lock.timeout(Duration::from_millis(200)).every(LONG);
    let limit = Duration::from_mins(1);
    let ran = job.try_transaction(&pool, async |_| Ok::<_, Error>(7));
    let ran = tokio::time::timeout(limit, ran).await.unwrap();
    assert!(ran.is_err(), "{ran:?}");
    database.wait_until_held(0).await;
    let locks = LockSession::new(&pool);
    let ran = job.try_session(&locks, async |_| Ok::<_, Error>(7));
    let ran = tokio::time::timeout(limit, ran).await.unwrap();
    assert!(ran.is_err(), "{ran:?}");
    operator.rollback().await.unwrap();
    database.wait_until_held(0).await;
    assert_eq!(run(&job, &pool).await, Some(7));
    database.assert_nothing_leaked(&pool).await;
}
