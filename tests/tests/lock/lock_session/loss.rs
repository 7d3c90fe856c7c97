//! A session that is lost: terminated, silent, or with its server.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, LockSessionGuard};
use advisory_tests::{Cut, Database, Shutdown, Side};
use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;

use super::{
    HANG_TIMEOUT, NAP, acquire_each, assert_closes, assert_sleeps, ends, open, poll_for, server,
    through_proxy,
};

#[tokio::test]
async fn all_guards_of_a_lost_session_are_notified_and_stay_lost() {
    let (database, pool, locks) = open(2).await;
    let guards = acquire_each(&locks, 0..50).await;
    let first = guards[0].lost();
    let bodies = guards.iter().map(|guard| guard.until_lost(pending::<()>()));
    let bodies = join_all(bodies);
    database.terminate_lockers().await;
    for body in ends(bodies).await {
        assert!(body.unwrap_err().is_lost());
    }
    first.await;
    let again = AdvisoryLock::new(0).acquire(&locks).await.unwrap();
    assert!(guards.iter().all(LockSessionGuard::is_lost));
    for guard in guards {
        assert!(guard.release().await.unwrap_err().is_lost());
    }
    assert!(!again.is_lost());
    let tried = AdvisoryLock::new(0).try_acquire(&pool).await.unwrap();
    assert!(tried.is_none());
    again.release().await.unwrap();
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn wait_outlives_the_session_that_queues_for_it() {
    let (database, pool) = Database::with_pool(2).await;
    for (end, queueing) in [("pg_cancel_backend", 1), ("pg_terminate_backend", 2)] {
        let locks = LockSession::new(&pool).queueing(queueing);
        let lock = AdvisoryLock::new("one");
        let held = lock.begin(&pool).await.unwrap();
        let mut wait = pin!(lock.acquire(&locks));
        for _ in 0..2 {
            database.drop_when_waiting(&mut wait).await;
            database.signal(end, |lock| !lock.granted).await;
        }
        held.commit().await.unwrap();
        ends(wait).await.unwrap().release().await.unwrap();
        assert_closes(&locks, &database, &pool).await;
    }
}

#[tokio::test]
async fn wait_outlives_a_silent_session_that_queues_for_it() {
    let (database, proxy, pool) = through_proxy().await;
    let outside = database.pool(1).await;
    let locks = LockSession::new(&pool).queueing(1);
    let lock = AdvisoryLock::new(1);
    let held = lock.acquire(&outside).await.unwrap();
    let limit = Duration::from_millis(500);
    let lock = lock.keepalive_interval(limit).response_timeout(limit);
    let mut wait = pin!(lock.acquire(&locks));
    database.drop_when_waiting(&mut wait).await;
    proxy.cut_after(Side::Server, 1, Cut::Silence);
    held.release().await.unwrap();
    let guard = ends(wait).await.unwrap();
    proxy.set_silent(false);
    drop(guard);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn opening_ends_on_a_silent_network() {
    let (database, proxy, _pool) = through_proxy().await;
    for message in 1..4 {
        // A new pool, which has not been tested.
        let pool = proxy.pool(2).await;
        let locks = LockSession::new(&pool);
        let lock = AdvisoryLock::new(1).response_timeout(Duration::from_millis(300));
        proxy.cut_after(Side::Client, message, Cut::Silence);
        let asked = timeout(HANG_TIMEOUT, lock.acquire(&locks)).await;
        assert!(asked.is_ok(), "silent after message {message}");
        proxy.disarm();
        proxy.set_silent(false);
        drop(asked);
        assert_closes(&locks, &database, &pool).await;
    }
}

#[tokio::test]
async fn patient_lock_does_not_delay_the_loss_of_another() {
    let (_database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    let patient = AdvisoryLock::new(1).response_timeout(HANG_TIMEOUT * 100);
    let other = AdvisoryLock::new(2).keepalive_interval(Duration::from_millis(100));
    let _patient = patient.acquire(&locks).await.unwrap();
    let guard = other.acquire(&locks).await.unwrap();
    proxy.set_silent(true);
    ends(guard.lost()).await;
    proxy.set_silent(false);
    locks.close().await;
}

#[tokio::test]
async fn server_that_comes_back_serves_those_that_wait() {
    let server = server(&[]).await;
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new()
        .acquire_timeout(HANG_TIMEOUT * 10)
        .connect_with(database.options())
        .await
        .unwrap();
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    for how in [Shutdown::Fast, Shutdown::Kill] {
        server.stop(how).await;
        ends(guard.lost()).await;
        let short = AdvisoryLock::new(1).timeout(Duration::from_millis(300));
        let refused = ends(short.try_acquire(&locks)).await;
        assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
        let (waited, tried) = (AdvisoryLock::new(2), AdvisoryLock::new(3));
        let mut wait = pin!(waited.acquire(&locks));
        let mut attempt = pin!(tried.try_acquire(&locks));
        poll_for(NAP, &mut attempt).await;
        assert_sleeps(&mut wait).await;
        server.restart(how).await;
        let waited = ends(wait).await.unwrap();
        assert!(ends(attempt).await.unwrap().is_some());
        assert!(guard.is_lost() && !waited.is_lost());
    }
    locks.close().await;
}
