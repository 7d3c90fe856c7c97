//! Shared locks, whose holders on one session make way for an exclusive one elsewhere.

use std::pin::pin;

use advisory_core::{AdvisoryLock, LockSession, LockSessionGuard};
use advisory_tests::{Database, LockRow, Proxy, Shutdown, drop_when};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{
    HANG_TIMEOUT, NAP, assert_closes, assert_sleeps, ends, open, poll_for, server, through_proxy,
};

#[tokio::test]
async fn shared_locks_are_held_together_and_exclude_exclusive_ones() {
    let (database, pool, locks) = open(3).await;
    let (shared, exclusive) = (AdvisoryLock::new(1).shared(), AdvisoryLock::new(1));
    let guards = join_all((0..20).map(|_| shared.try_acquire(&locks))).await;
    assert!(guards.iter().all(|guard| matches!(guard, Ok(Some(_)))));
    // The server is asked once.
    assert_eq!(database.advisory_locks().await.len(), 1);
    let elsewhere = shared.try_acquire(&pool).await.unwrap().unwrap();
    assert!(exclusive.try_acquire(&locks).await.unwrap().is_none());
    drop(guards);
    assert!(exclusive.try_acquire(&locks).await.unwrap().is_none());
    elsewhere.release().await.unwrap();
    let guard = exclusive.acquire(&locks).await.unwrap();
    assert!(shared.try_acquire(&locks).await.unwrap().is_none());
    guard.release().await.unwrap();
    assert_closes(&locks, &database, &pool).await;
}

fn is_writer_waiting(locks: &[LockRow]) -> bool {
    let is_writer = |lock: &LockRow| !lock.granted && lock.mode == "ExclusiveLock";
    locks.iter().any(is_writer)
}

#[tokio::test]
async fn writer_elsewhere_gets_its_chance_among_readers() {
    let (database, pool, locks) = open(2).await;
    let shared = AdvisoryLock::new(1).shared();
    let mut readers = JoinSet::new();
    let first = shared.acquire(&locks).await.unwrap();
    for _ in 0..4 {
        let (shared, locks) = (shared.clone(), locks.clone());
        readers.spawn(async move {
            loop {
                let guard = shared.acquire(&locks).await.unwrap();
                sleep(NAP).await;
                drop(guard);
            }
        });
    }
    let exclusive = AdvisoryLock::new(1);
    let mut writes = pin!(exclusive.acquire(&pool));
    let waits = database.wait_until_locks("the writer waits", is_writer_waiting);
    drop_when(waits, &mut writes).await;
    drop(first);
    let guard = ends(writes).await.unwrap();
    readers.shutdown().await;
    guard.release().await.unwrap();
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn readers_join_again_when_the_writer_has_given_up() {
    let (database, pool, locks) = open(2).await;
    let outside = database.pool(2).await;
    let shared = AdvisoryLock::new(1).shared();
    let first = shared.acquire(&locks).await.unwrap();
    let exclusive = AdvisoryLock::new(1);
    let made_way = async {
        while shared.try_acquire(&locks).await.unwrap().is_some() {
            sleep(NAP).await;
        }
    };
    drop_when(ends(made_way), exclusive.acquire(&outside)).await;
    database.wait_until_waiting(0).await;
    assert!(shared.try_acquire(&outside).await.unwrap().is_some());
    let joined = ends(shared.acquire(&locks)).await.unwrap();
    drop((first, joined));
    assert_closes(&locks, &database, &pool).await;
}

/// Readers, for which the session has asked more than once whether a writer waits.
async fn readers(locks: &LockSession) -> Vec<LockSessionGuard> {
    let shared = AdvisoryLock::new(1).shared();
    let mut guards = Vec::new();
    for _ in 0..6 {
        guards.push(shared.acquire(locks).await.unwrap());
        sleep(NAP).await;
    }
    sleep(NAP * 4).await;
    guards
}

#[tokio::test]
async fn session_sleeps_while_the_question_for_writers_is_not_answered() {
    let (database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    let guards = readers(&locks).await;
    proxy.set_silent(true);
    assert_sleeps(AdvisoryLock::new(1).shared().acquire(&locks)).await;
    proxy.set_silent(false);
    drop(guards);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn session_sleeps_when_it_is_lost_during_that_question() {
    let server = server(&[]).await;
    let database = Database::on(&server).await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let guards = readers(&locks).await;
    proxy.set_silent(true);
    let shared = AdvisoryLock::new(1).shared();
    poll_for(NAP, shared.acquire(&locks)).await;
    proxy.set_silent(false);
    server.stop(Shutdown::Kill).await;
    for guard in guards {
        ends(guard.lost()).await;
    }
    assert_sleeps(sleep(HANG_TIMEOUT)).await;
}

/// One of the keys can be joined at any time, and so is no reason to wait.
#[tokio::test]
async fn wait_for_shared_keys_goes_on_while_one_of_them_is_held_here() {
    let (database, pool, locks) = open(3).await;
    let elsewhere = AdvisoryLock::new(2).begin(&pool).await.unwrap();
    let held = AdvisoryLock::new(1).shared().acquire(&locks).await.unwrap();
    let both = AdvisoryLock::all([1, 2]).shared();
    let waiting = tokio::spawn({
        let (both, locks) = (both.clone(), locks.clone());
        async move { both.acquire(&locks).await }
    });
    // Longer than a key goes from one local holder to the next.
    sleep(NAP * 50).await;
    let refused = ends(both.try_acquire(&locks)).await;
    assert!(refused.unwrap().is_none());
    elsewhere.rollback().await.unwrap();
    let guard = ends(waiting).await.unwrap().unwrap();
    drop((held, guard));
    assert_closes(&locks, &database, &pool).await;
}
