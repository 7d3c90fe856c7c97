//! Waits for a lock: their order, their end, polls and tries.

use std::pin::pin;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key, LockSession};
use advisory_tests::{Database, another_pool, is_ever};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{HANG_TIMEOUT, NAP, acquire_each, assert_closes, ends, open, poll_for, through_proxy};

#[tokio::test]
async fn waits_of_one_lock_are_served_in_order() {
    let (database, pool, locks) = open(2).await;
    for lock in [
        AdvisoryLock::new("one"),
        AdvisoryLock::new((1, -7)),
        AdvisoryLock::all([Key::from(1), Key::from(2), Key::from((7, 7))]),
    ] {
        let first = lock.acquire(&locks).await.unwrap();
        assert_eq!(first.lock_id(), lock.id());
        let (sender, mut order) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for n in 0..40 {
            let (lock, locks, sender) = (lock.clone(), locks.clone(), sender.clone());
            tasks.spawn(async move {
                let guard = lock.acquire(&locks).await.unwrap();
                sender.send(n).unwrap();
                guard.release().await.unwrap();
            });
            tokio::task::yield_now().await;
        }
        first.release().await.unwrap();
        for n in 0..40 {
            assert_eq!(order.recv().await, Some(n), "{lock}");
        }
        tasks.join_all().await;
    }
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn next_wait_inherits_the_queue_position_of_a_dropped_one() {
    let (database, pool, locks) = open(2).await;
    let lock = AdvisoryLock::new("one");
    let held = lock.acquire(&pool).await.unwrap();
    let (mut dropped, mut inherits) = (Box::pin(lock.acquire(&locks)), pin!(lock.acquire(&locks)));
    assert!(dropped.as_mut().now_or_never().is_none());
    assert!(inherits.as_mut().now_or_never().is_none());
    let both = async {
        tokio::select! {
            _ = &mut dropped => {}
            _ = &mut inherits => {}
        }
    };
    database.drop_when_waiting(both).await;
    let queued = database.advisory_locks().await;
    drop(dropped);
    poll_for(NAP, &mut inherits).await;
    assert_eq!(database.advisory_locks().await, queued);
    held.release().await.unwrap();
    drop(ends(inherits).await.unwrap());
    database.wait_until_held(0).await;
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn try_after_a_dropped_wait_is_granted() {
    let (database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    drop(AdvisoryLock::new(9).acquire(&locks).await.unwrap());
    proxy.set_delay(Duration::from_millis(100));
    let lock = AdvisoryLock::new(1);
    poll_for(NAP, lock.acquire(&locks)).await;
    let tried = lock.try_acquire(&locks).await.unwrap();
    assert!(tried.is_some(), "refused, and nobody has it");
    drop(tried);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn outsider_in_the_queue_of_a_hot_key_is_served() {
    let (database, pool, locks) = open(2).await;
    let lock = AdvisoryLock::new("hot");
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (lock, locks) = (lock.clone(), locks.clone());
        tasks.spawn(async move {
            loop {
                let guard = lock.acquire(&locks).await.unwrap();
                guard.release().await.unwrap();
            }
        });
    }
    for _ in 0..20 {
        let guard = ends(lock.acquire(&pool)).await.unwrap();
        guard.release().await.unwrap();
    }
    tasks.shutdown().await;
    assert_closes(&locks, &database, &pool).await;
}

/// The session is opened with the first lock, which takes longer than this timeout.
#[tokio::test]
async fn short_timeout_is_enough_for_a_free_lock() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new(1).timeout(Duration::from_millis(1));
    let is_granted = async || {
        let locks = LockSession::new(&pool);
        let is_granted = lock.acquire(&locks).await.is_ok();
        locks.close().await;
        is_granted
    };
    assert!(is_ever(is_granted).await);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn lock_timeout_of_the_pool_ends_a_wait_unless_it_waits_forever() {
    let database = Database::new().await;
    let pool = database.pool_with(2, "lock_timeout", "100ms").await;
    let outside = database.pool(1).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1);
    let held = lock.acquire(&outside).await.unwrap();
    let forever = lock.clone().wait_forever();
    let mut waits = pin!(forever.acquire(&locks));
    // The first wait opens the session, and the second one finds it open.
    for _ in 0..2 {
        tokio::select! {
            _ = &mut waits => panic!("two holders, or `wait_forever` is ignored"),
            ended = ends(lock.acquire(&locks)) => match ended {
                Err(Error::NotAcquired { .. }) => {}
                other => panic!("{other:?}"),
            },
        }
    }
    database.drop_when_waiting(&mut waits).await;
    held.release().await.unwrap();
    drop(ends(waits).await.unwrap());
    assert_closes(&locks, &database, &pool).await;
}

/// The first in the queue for a permit may have got there on a session that queues for it.
#[tokio::test]
async fn lock_timeout_of_the_pool_ends_a_wait_for_a_permit() {
    let database = Database::new().await;
    let pool = database.pool_with(10, "lock_timeout", "500ms").await;
    let export = AdvisoryLock::new("export").permits(2);
    let slot = |number| AdvisoryLock::from(export.keys()[0].slot(number));
    let rivals = database.pool(3).await;
    let taken = [
        slot(1).begin(&rivals).await.unwrap(),
        slot(2).begin(&rivals).await.unwrap(),
    ];
    let queueing = slot(0).begin(&rivals).await.unwrap();
    let locks = LockSession::new(&pool);
    let waiting = tokio::spawn({
        let (export, locks) = (export.clone(), locks.clone());
        async move { export.acquire(&locks).await.map(drop) }
    });
    database.wait_until_waiting(1).await;
    queueing.rollback().await.unwrap();
    let refused = ends(waiting).await.unwrap().unwrap_err();
    assert!(refused.is_not_acquired(), "{refused:?}");
    drop(taken);
    assert_closes(&locks, &database, &rivals).await;
}

/// Another task has just taken the lock when the time of one that polls is over, so that it joins.
#[tokio::test]
async fn lock_that_is_joined_at_the_deadline_stays_held() {
    let (database, pool, locks) = open(3).await;
    let shared = AdvisoryLock::new(1).shared();
    let polls = shared.clone().polling(Duration::from_secs(10));
    let polls = polls.timeout(Duration::from_millis(500));
    // A busy machine may be late for the deadline.
    let is_kept = async || {
        let elsewhere = AdvisoryLock::new(1).begin(&pool).await.unwrap();
        let begun = Instant::now();
        let polling = tokio::spawn({
            let (polls, locks) = (polls.clone(), locks.clone());
            async move { polls.acquire(&locks).await }
        });
        sleep(Duration::from_millis(400)).await;
        elsewhere.rollback().await.unwrap();
        sleep(Duration::from_millis(480).saturating_sub(begun.elapsed())).await;
        let first = ends(shared.try_acquire(&locks)).await.unwrap();
        let Ok(guard) = ends(polling).await.unwrap() else {
            return false;
        };
        sleep(NAP * 5).await;
        drop(first);
        sleep(NAP * 5).await;
        let other = AdvisoryLock::new(1).try_begin(&pool).await.unwrap();
        assert!(other.is_none() && !guard.is_lost());
        guard.release().await.unwrap();
        true
    };
    assert!(is_ever(is_kept).await);
    assert_closes(&locks, &database, &pool).await;
}

/// The time of both is over at once, and the end of the first one grants the lock to the second.
#[tokio::test]
async fn lock_that_is_joined_behind_a_refusal_stays_held() {
    let (database, pool) = Database::with_pool(3).await;
    let locks = LockSession::new(&pool);
    let shared = AdvisoryLock::new(1).shared();
    let limit = Duration::from_millis(20);
    let is_kept = async || {
        let first = ends(shared.acquire(&locks)).await.unwrap();
        let exclusive = AdvisoryLock::new(1).timeout(limit);
        let behind = shared.clone().timeout(limit);
        let (refused, joined) =
            tokio::join!(exclusive.try_acquire(&locks), behind.try_acquire(&locks));
        assert!(refused.unwrap().is_none());
        let Some(guard) = joined.unwrap() else {
            return false;
        };
        first.release().await.unwrap();
        // What is not held any more is unlocked with the next message.
        drop(ends(AdvisoryLock::new(2).acquire(&locks)).await.unwrap());
        let other = AdvisoryLock::new(1).try_begin(&pool).await.unwrap();
        assert!(other.is_none() && !guard.is_lost());
        guard.release().await.unwrap();
        true
    };
    assert!(is_ever(is_kept).await);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn polling_never_queues_on_the_server() {
    let (database, pool, locks) = open(2).await;
    let outside = LockSession::new(&another_pool(&pool));
    let held = acquire_each(&outside, [1, 2]).await;
    let [polled, waited] = [1, 2].map(AdvisoryLock::new);
    let polled = polled.polling(NAP);
    let mut polls = pin!(polled.acquire(&locks));
    poll_for(NAP, &mut polls).await;
    let mut both = pin!(async {
        tokio::select! {
            _ = &mut polls => {}
            _ = waited.acquire(&locks) => {}
        }
    });
    database.drop_when_waiting(&mut both).await;
    for _ in 0..25 {
        poll_for(NAP * 2, &mut both).await;
        let queued = database.advisory_locks().await;
        let queued = queued.iter().filter(|lock| !lock.granted);
        assert_eq!(queued.map(|lock| lock.objid).collect::<Vec<_>>(), [2]);
    }
    drop(held);
    ends(both).await;
    outside.close().await;
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn polls_keep_their_interval() {
    let (database, proxy, pool) = through_proxy().await;
    let outside = database.pool(1).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1);
    let held = lock.acquire(&outside).await.unwrap();
    assert!(lock.try_acquire(&locks).await.unwrap().is_none());
    proxy.reset();
    let lock = lock.polling(HANG_TIMEOUT);
    poll_for(Duration::from_secs(1), lock.acquire(&locks)).await;
    let polls = proxy.round_trips();
    assert!(polls <= 5, "{polls} in a second:\n{}", proxy.dump());
    drop(held);
    assert_closes(&locks, &database, &pool).await;
}

/// A busy machine may release the lock after the deadline.
#[tokio::test]
async fn last_poll_is_made_at_the_deadline() {
    let (database, pool, locks) = open(2).await;
    let outside = database.pool(1).await;
    let lock = AdvisoryLock::new(1);
    let rarely = lock.clone().polling(HANG_TIMEOUT * 10);
    let rarely = rarely.timeout(Duration::from_secs(1));
    let is_granted = async || {
        let held = lock.acquire(&outside).await.unwrap();
        assert!(lock.try_acquire(&locks).await.unwrap().is_none());
        let mut polls = pin!(rarely.acquire(&locks));
        let _ = timeout(NAP, &mut polls).await;
        held.release().await.unwrap();
        polls.await.is_ok()
    };
    assert!(is_ever(is_granted).await);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn wait_is_served_while_a_poll_pauses() {
    let (database, pool, locks) = open(2).await;
    let outside = database.pool(1).await;
    let lock = AdvisoryLock::new(1);
    let held = lock.acquire(&outside).await.unwrap();
    let rarely = lock.clone().polling(HANG_TIMEOUT * 10);
    let mut polls = pin!(rarely.acquire(&locks));
    poll_for(NAP, &mut polls).await;
    let mut waits = pin!(lock.acquire(&locks));
    poll_for(NAP, &mut waits).await;
    held.release().await.unwrap();
    let served = async {
        tokio::select! {
            guard = &mut polls => guard.unwrap(),
            guard = &mut waits => guard.unwrap(),
        }
    };
    drop(ends(served).await);
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn tries_of_one_key_share_a_round_trip() {
    let (database, proxy, pool) = through_proxy().await;
    let locks = LockSession::new(&pool);
    let outside = database.pool(1).await;
    let lock = AdvisoryLock::new(1);
    let held = lock.acquire(&outside).await.unwrap();
    assert!(lock.try_acquire(&locks).await.unwrap().is_none());
    proxy.reset();
    let tried = join_all((0..2_000).map(|_| lock.try_acquire(&locks))).await;
    assert!(tried.iter().all(|tried| matches!(tried, Ok(None))));
    let trips = proxy.round_trips();
    assert!(trips <= 100, "2,000 tries: {trips} round trips");
    drop((held, tried));
    assert_closes(&locks, &database, &pool).await;
}
