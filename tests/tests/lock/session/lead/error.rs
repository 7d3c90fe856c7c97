//! Errors that end `lead`, and errors that it survives.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, UnsupportedReason};
use advisory_tests::{Database, another_pool};
use advisory_verbs::with_connection;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{Place, ends, lock};

async fn led(place: &Place, lock: &AdvisoryLock) -> Error {
    ends(place.lead(lock, async |_| Ok::<_, Error>(())))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn what_needs_a_change_is_returned() {
    let (database, pool) = Database::with_pool(1).await;
    let lazily = |options| PgPoolOptions::new().connect_lazy_with(options);
    let closed = another_pool(&pool);
    closed.close().await;
    for (pool, expected) in [
        (
            lazily(database.options().database("missing_database")),
            "does not exist",
        ),
        (
            lazily(database.options().username("missing_role")),
            "missing_role",
        ),
        (closed, "closed"),
    ] {
        for place in Place::both(&pool) {
            let error = led(&place, &lock()).await;
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

#[tokio::test]
async fn a_lock_that_several_may_hold_is_refused() {
    let (_database, pool) = Database::with_pool(1).await;
    for place in Place::both(&pool) {
        for (lock, refused) in [(lock().shared(), "shared"), (lock().permits(2), "permits")] {
            let error = led(&place, &lock).await;
            let is_of_setting = matches!(
                &error,
                Error::Unsupported { reason: UnsupportedReason::UnusedSetting { setting, .. }, .. }
                if *setting == refused
            );
            assert!(is_of_setting, "{error}");
        }
    }
}

#[tokio::test]
async fn a_timeout_bounds_the_time_of_standing() {
    let (database, pool) = Database::with_pool(3).await;
    let guard = lock().acquire(&pool).await.unwrap();
    for place in Place::both(&pool) {
        for limit in [Duration::ZERO, Duration::from_millis(50)] {
            let error = led(&place, &lock().timeout(limit)).await;
            assert!(error.is_not_acquired(), "{error}");
        }
        place.close().await;
    }
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn an_exhausted_pool_is_waited_for() {
    let database = Database::new().await;
    let pool: PgPool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(100))
        .connect_lazy_with(database.options());
    // A busy machine takes longer to connect.
    let taken = with_connection(async || Ok(pool.acquire().await?)).await;
    let taken = taken.unwrap();
    let lock = lock();
    let led = lock.lead(&pool, async |_| Ok::<_, Error>(7));
    let returns = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        drop(taken);
    };
    let (led, ()) = ends(async { tokio::join!(led, returns) }).await;
    assert_eq!(led.unwrap(), 7);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_call_inside_a_body_that_holds_the_lock_is_refused() {
    let (database, pool) = Database::with_pool(3).await;
    let (outer, inner) = (lock(), lock());
    let locks = LockSession::new(&pool);
    let nested = outer.lead(&pool, async |_| {
        let nested = inner.lead(&locks, async |_| Ok::<_, Error>(()));
        let error = nested.await.unwrap_err();
        let reason = match error {
            Error::Unsupported { reason, .. } => reason,
            error => panic!("{error}"),
        };
        assert!(matches!(reason, UnsupportedReason::NestedWait { .. }));
        Ok::<_, Error>(())
    });
    ends(nested).await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
