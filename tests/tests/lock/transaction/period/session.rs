//! In a session, the mark is written after success, and fenced.

use advisory_core::{Error, LockSession};
use advisory_tests::{BackendRow, Database, abandon_a_transaction, another_pool};
use sqlx::PgPool;

use super::{database, job, marks, next_period};

/// Where the lock is held.
#[derive(Clone, Copy, Debug)]
enum Place {
    Pool,
    LockSession,
}

const PLACES: [Place; 2] = [Place::Pool, Place::LockSession];

async fn run<T>(
    place: Place,
    pool: &PgPool,
    body: impl AsyncFnOnce(i64) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    match place {
        Place::Pool => job().session(pool, body).await,
        Place::LockSession => {
            let locks = LockSession::new(pool);
            let ran = job().session(&locks, body).await;
            locks.close().await;
            ran
        }
    }
}

async fn assert_runs(place: Place, pool: &PgPool, expected: Option<u32>) {
    let ran = run(place, pool, async |_| Ok(7)).await;
    assert_eq!(ran.unwrap(), expected, "{place:?}");
}

#[tokio::test]
async fn a_job_runs_once_in_a_period_and_again_in_the_next_one() {
    let (database, pool) = database().await;
    for place in PLACES {
        assert_runs(place, &pool, Some(7)).await;
        assert_runs(place, &pool, None).await;
        assert_runs(Place::Pool, &another_pool(&pool), None).await;
        next_period(&pool).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_failure_leaves_the_period_open() {
    let (database, pool) = database().await;
    for place in PLACES {
        let failed = run(place, &pool, async |_| {
            Err::<(), _>(Error::NotInTransaction)
        })
        .await;
        assert!(matches!(failed, Err(Error::NotInTransaction)));
        assert_runs(place, &pool, Some(7)).await;
        next_period(&pool).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_lost_run_leaves_the_period_open() {
    let (database, pool) = database().await;
    for place in PLACES {
        let lost = run(place, &pool, async |_| {
            database.terminate_lockers().await;
            std::future::pending::<Result<(), Error>>().await
        });
        assert!(lost.await.unwrap_err().is_lost());
        assert_runs(place, &pool, Some(7)).await;
        next_period(&pool).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_run_that_was_overtaken_cannot_mark_its_period() {
    let (database, pool) = database().await;
    for place in PLACES {
        for is_done in [false, true] {
            let other = another_pool(&pool);
            // The other run begins, or ends, while this one does not know of its loss.
            let overtaken = run(place, &pool, async |fence| {
                let held = database.advisory_locks().await;
                let overtake = "UPDATE advisory_period SET fence = $1 + 1";
                sqlx::query(overtake)
                    .bind(fence)
                    .execute(&other)
                    .await
                    .unwrap();
                if is_done {
                    let done = "UPDATE advisory_period SET period = attempt, fence = NULL";
                    sqlx::query(done).execute(&other).await.unwrap();
                }
                assert_eq!(held.len(), 1);
                Ok(())
            });
            assert!(overtaken.await.unwrap_err().is_lost(), "{place:?}");
            assert_eq!(marks(&pool).await, i64::from(is_done));
            sqlx::query("DELETE FROM advisory_period")
                .execute(&pool)
                .await
                .unwrap();
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_pool_of_one_is_enough() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    advisory_core::Periods::create(&pool).await.unwrap();
    assert_runs(Place::Pool, &pool, Some(7)).await;
    assert_runs(Place::Pool, &pool, None).await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_the_period_open() {
    let (database, pool) = database().await;
    for place in PLACES {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let dropped = run(place, &pool, async |_| {
            begun.send(()).unwrap();
            std::future::pending::<Result<(), Error>>().await
        });
        tokio::select! {
            biased;
            _ = dropped => panic!("it never ends"),
            _ = begins.recv() => {}
        }
        database.wait_until_held(0).await;
        assert_runs(place, &pool, Some(7)).await;
        next_period(&pool).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_mark_is_not_written_into_an_abandoned_transaction() {
    let (database, other) = database().await;
    for begin in ["BEGIN", "BEGIN; SELECT 1 / 0"] {
        let pool = database.pool(1).await;
        let locks = LockSession::new(&pool);
        abandon_a_transaction(&pool, begin).await;
        let job = job();
        let ran = job.session(&locks, async |_| {
            abandon_a_transaction(&pool, begin).await;
            Ok::<_, Error>(7)
        });
        assert_eq!(ran.await.unwrap(), Some(7), "{begin}");
        assert_eq!(marks(&other).await, 1, "{begin}");
        assert_runs(Place::Pool, &other, None).await;
        next_period(&other).await;
        locks.close().await;
        pool.close().await;
    }
    database.assert_nothing_leaked(&other).await;
}

/// A run whose lock was lost before it has begun, and which does not know, leaves the run that has
/// the lock alone.
#[tokio::test]
async fn a_run_that_begins_too_late_does_not_disturb_the_next_one() {
    let (database, pool) = database().await;
    let busy = database.pool(1).await;
    let taken = busy.acquire().await.unwrap();
    let late = tokio::spawn({
        let locks = LockSession::new(&busy);
        async move { job().session(&locks, async |_| Ok::<_, Error>(1)).await }
    });
    let has_token = |backends: &[BackendRow]| {
        let has_taken = |backend: &BackendRow| {
            backend.state.as_deref() == Some("idle") && backend.query.contains("pg_logical_emit")
        };
        backends.iter().any(has_taken)
    };
    database
        .wait_until_backends("a token was taken", has_token)
        .await;
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
    let job = job();
    let ran = job.session(&pool, async |_| {
        drop(taken);
        assert!(late.await.unwrap().unwrap_err().is_lost());
        Ok::<_, Error>(7)
    });
    assert_eq!(ran.await.unwrap(), Some(7));
    assert_eq!(marks(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}
