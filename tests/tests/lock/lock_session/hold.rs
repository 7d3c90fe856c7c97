//! What a session holds, and what it says about it.

use std::cell::Cell;
use std::pin::pin;

use advisory_core::{AdvisoryLock, LockSession, UnsupportedReason};
use advisory_tests::Database;
use advisory_verbs::unsupported;
use futures_util::future::join_all;
use sqlx::PgPool;

use super::{
    HANG_TIMEOUT, NAP, acquire_each, assert_closes, ends, large_server, open, poll_for, release_all,
};

#[tokio::test]
async fn thousands_of_locks_are_one_connection() {
    let database = Database::on(large_server().await).await;
    let pool = database.pool(2).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let guards = acquire_each(&locks, 0..2_000).await;
    let held = database.advisory_locks().await;
    assert_eq!(held.len(), 2_000);
    assert!(held.iter().all(|lock| lock.pid == held[0].pid));
    // A connection that has tested the pool may be just ending.
    database
        .wait_until_backends("one more", |backends| backends.len() == before + 1)
        .await;
    for key in [0, 1, 777, 1_999] {
        let lock = AdvisoryLock::new(key);
        assert!(lock.try_acquire(&locks).await.unwrap().is_none());
        assert!(lock.try_acquire(&pool).await.unwrap().is_none());
        assert!(lock.try_begin(&pool).await.unwrap().is_none());
        let shared = lock.shared();
        assert!(shared.try_acquire(&locks).await.unwrap().is_none());
    }
    ends(release_all(guards)).await;
    assert!(database.advisory_locks().await.is_empty());
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn fencing_tokens_grow() {
    let (database, pool, locks) = open(2).await;
    let lock = AdvisoryLock::new(1);
    let mut last = 0;
    for _ in 0..3 {
        let guard = lock.acquire(&locks).await.unwrap();
        let token = guard.fencing_token().await.unwrap();
        assert!(token > last);
        last = token;
        guard.release().await.unwrap();
    }
    let guard = lock.acquire(&locks).await.unwrap();
    database.terminate_lockers().await;
    guard.lost().await;
    assert!(guard.fencing_token().await.unwrap_err().is_lost());
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn lock_is_granted_while_others_take_fencing_tokens() {
    let (database, pool, locks) = open(2).await;
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    let count = Cell::new(0);
    let take = async |_| loop {
        guard.fencing_token().await.unwrap();
        count.set(count.get() + 1);
    };
    let mut takers = pin!(join_all::<[_; 20]>(std::array::from_fn(take)));
    while count.get() < 20 {
        poll_for(NAP, &mut takers).await;
    }
    let before = count.get();
    let lock = AdvisoryLock::new(2);
    tokio::select! {
        _ = &mut takers => panic!("a taker has ended"),
        acquired = ends(lock.acquire(&locks)) => drop(acquired.unwrap()),
    }
    let meanwhile = count.get() - before;
    assert!(meanwhile <= 20, "{meanwhile} tokens were taken meanwhile");
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn missing_privilege_is_an_error_of_the_call() {
    let database = Database::new().await;
    let deny = "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(int8) FROM PUBLIC";
    database.execute(deny).await;
    let role = database.role().await;
    let pool = PgPool::connect_with(role).await.unwrap();
    let locks = LockSession::new(&pool);
    let denied = ends(AdvisoryLock::new(1).try_acquire(&locks)).await;
    assert_closes(&locks, &database, &pool).await;
    assert!(denied.is_err(), "{denied:?}");
}

#[tokio::test]
async fn session_tag_is_refused_and_keepalive_interval_is_not() {
    let (database, pool, locks) = open(2).await;
    let lock = AdvisoryLock::new(1);
    let tagged = lock.clone().tag_session();
    for refused in [
        tagged.acquire(&locks).await.map(Some),
        tagged.try_acquire(&locks).await,
    ] {
        let error = refused.unwrap_err();
        let UnsupportedReason::UnusedSetting { setting, .. } = unsupported(&error) else {
            panic!("{error:?}");
        };
        assert_eq!(*setting, "tag_session");
    }
    let watched = lock.keepalive_interval(HANG_TIMEOUT);
    drop(watched.acquire(&locks).await.unwrap());
    assert_closes(&locks, &database, &pool).await;
}
