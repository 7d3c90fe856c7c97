//! The runtime of the first caller, on which a session depends, and other runtimes.

use std::pin::pin;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession};
use advisory_tests::Database;
use tokio::runtime::{Builder, Runtime};

use super::{NAP, assert_closes, ends, open, poll_for};

/// A runtime that runs inside `block_on` only.
fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn timeout_holds_while_nobody_runs_the_first_runtime() {
    let (first, second) = (current_thread(), current_thread());
    let (_database, pool) = first.block_on(Database::with_pool(2));
    let locks = LockSession::new(&pool);
    let guard = first.block_on(AdvisoryLock::new(1).acquire(&locks));
    let _guard = guard.unwrap();
    let limit = Duration::from_millis(200);
    let lock = AdvisoryLock::new(2).timeout(limit).response_timeout(limit);
    let ended = second.block_on(async { ends(lock.acquire(&locks)).await });
    assert!(
        matches!(ended, Err(Error::Database(sqlx::Error::PoolTimedOut))),
        "{ended:?}"
    );
}

#[test]
fn second_runtime_takes_the_lock_again_after_the_first_has_ended() {
    let second = multi_thread();
    let (database, pool) = second.block_on(Database::with_pool(2));
    let lock = AdvisoryLock::new(1);
    for build in [current_thread, multi_thread] {
        let locks = LockSession::new(&pool);
        let first = build();
        let lost = first.block_on(async { lock.acquire(&locks).await.unwrap() });
        drop(first);
        second.block_on(async {
            ends(lost.lost()).await;
            let guard = ends(lock.acquire(&locks)).await.unwrap();
            assert!(lost.is_lost() && !guard.is_lost());
            assert!(lost.release().await.unwrap_err().is_lost());
            assert!(lock.try_acquire(&pool).await.unwrap().is_none());
            guard.release().await.unwrap();
            assert_closes(&locks, &database, &pool).await;
        });
    }
}

#[test]
fn runtime_ends_under_guards_and_waits_of_another() {
    let (first, second) = (multi_thread(), multi_thread());
    let (database, pool) = second.block_on(Database::with_pool(2));
    let locks = LockSession::new(&pool);
    let owner = first.block_on(async { AdvisoryLock::new(9).acquire(&locks).await.unwrap() });
    second.block_on(async {
        let lock = AdvisoryLock::new(1);
        let guard = lock.acquire(&locks).await.unwrap();
        let mut waits = pin!(lock.acquire(&locks));
        poll_for(NAP, &mut waits).await;
        first.shutdown_background();
        ends(guard.lost()).await;
        let next = ends(waits).await.unwrap();
        assert!(owner.is_lost() && !next.is_lost());
        assert!(guard.release().await.unwrap_err().is_lost());
        drop(next);
        database.wait_until_held(0).await;
        assert_closes(&locks, &database, &pool).await;
    });
}

#[test]
fn guard_is_dropped_outside_every_runtime() {
    let runtime = multi_thread();
    runtime.block_on(async {
        let (database, pool, locks) = open(2).await;
        let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
        std::thread::spawn(move || drop(guard)).join().unwrap();
        database.wait_until_held(0).await;
        assert_closes(&locks, &database, &pool).await;
    });
}
