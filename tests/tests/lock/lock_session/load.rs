//! Many requests at once: what they cost each other.

use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession};
use advisory_tests::{Database, Proxy, Shutdown, another_pool, by_depth, drop_when, is_ever};
use futures_util::future::join_all;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    HANG_TIMEOUT, acquire_each, assert_closes, ends, large_server, open, poll_for, processor_time,
    release_all, server,
};

/// The work that grows with the number of requests, but not with its square: 8 times as many may
/// take so many times as long.
const MOST_GROWTH: u32 = 24;

/// In a process of its own, because a stack overflow ends the process.
#[tokio::test]
async fn many_requests_of_one_key_do_not_overflow_the_stack() {
    let database = Database::on(large_server().await).await;
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["lock_session::load::alone::", "--ignored"])
        .env("ADVISORY_DATABASE_URL", database.url())
        .env("RUST_MIN_STACK", by_depth("250000", "1000000"))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&test.stdout);
    let error = String::from_utf8_lossy(&test.stderr);
    assert!(test.status.success(), "{}: {output}{error}", test.status);
    assert!(output.contains("2 passed"), "{output}");
}

mod alone {
    use super::*;

    #[tokio::test]
    #[ignore = "in a process of its own"]
    async fn many_readers_are_granted() {
        let (_database, pool, locks) = open(2).await;
        let held = AdvisoryLock::new(1).acquire(&pool).await.unwrap();
        let mut readers = JoinSet::new();
        for _ in 0..by_depth(2_000, 20_000) {
            let locks = locks.clone();
            readers.spawn(async move {
                let lock = AdvisoryLock::new(1).shared();
                lock.acquire(&locks).await.unwrap().release().await.unwrap();
            });
        }
        tokio::task::yield_now().await;
        held.release().await.unwrap();
        ends(readers.join_all()).await;
    }

    #[tokio::test]
    #[ignore = "in a process of its own"]
    async fn many_tries_are_answered() {
        let (_database, _pool, locks) = open(2).await;
        let lock = AdvisoryLock::new(1);
        let many = by_depth(2_000, 20_000);
        let tried = ends(join_all((0..many).map(|_| lock.try_acquire(&locks)))).await;
        let won = tried.iter().filter(|one| matches!(one, Ok(Some(_))));
        assert_eq!(won.count(), 1);
    }
}

#[tokio::test]
async fn thousands_of_waits_take_four_connections() {
    let database = Database::on(large_server().await).await;
    let pool = database.pool(2).await;
    let holder = LockSession::new(&another_pool(&pool));
    let (keys, many) = by_depth((500, 2_000), (2_000, 10_000));
    let held = acquire_each(&holder, 0..keys).await;
    let before = database.backends().await.len();
    let locks = LockSession::new(&pool);
    let mut tasks = JoinSet::new();
    for n in 0..many {
        let locks = locks.clone();
        tasks.spawn(async move {
            let guard = AdvisoryLock::new(n % keys).acquire(&locks).await.unwrap();
            guard.release().await.unwrap();
        });
    }
    database.wait_until_waiting(3).await;
    database
        .wait_until_backends("four more", |backends| backends.len() <= before + 4)
        .await;
    drop(held);
    ends(tasks.join_all()).await;
    holder.close().await;
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn many_tries_fail_together_without_much_work() {
    let server = server(&[]).await;
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(500))
        .connect_lazy_with(database.options());
    server.stop(Shutdown::Kill).await;
    let fail = async |many| {
        let locks = LockSession::new(&pool);
        let mut tasks = JoinSet::new();
        for _ in 0..many {
            let locks = locks.clone();
            tasks.spawn(async move { AdvisoryLock::new(1).try_acquire(&locks).await.is_err() });
        }
        assert!(
            ends(tasks.join_all())
                .await
                .into_iter()
                .all(|failed| failed)
        );
    };
    let many = by_depth(500, 2_000);
    let (few, all) = (
        processor_time(fail(many)).await,
        processor_time(fail(8 * many)).await,
    );
    assert!(all < few * MOST_GROWTH, "{few:?}, {all:?} for 8 times");
}

#[tokio::test]
async fn many_waits_time_out_together_without_much_work() {
    let (database, pool, locks) = open(2).await;
    let held = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    let expire = async |many| {
        let mut tasks = JoinSet::new();
        for _ in 0..many {
            let locks = locks.clone();
            tasks.spawn(async move {
                let lock = AdvisoryLock::new(1).timeout(Duration::from_millis(500));
                lock.try_acquire(&locks).await.unwrap().is_none()
            });
        }
        let expired = ends(tasks.join_all()).await;
        assert!(expired.into_iter().all(|expired| expired));
    };
    let many = by_depth(500, 8_000);
    let (few, all) = (
        processor_time(expire(many)).await,
        processor_time(expire(8 * many)).await,
    );
    assert!(all < few * MOST_GROWTH, "{few:?}, {all:?} for 8 times");
    held.release().await.unwrap();
    assert_closes(&locks, &database, &pool).await;
}

/// With sessions that have queued, which are looked through for what can be closed.
#[tokio::test]
async fn many_locks_cost_other_calls_no_work() {
    let database = Database::on(large_server().await).await;
    let pool = database.pool(2).await;
    let outside = LockSession::new(&another_pool(&pool));
    let locks = LockSession::new(&pool);
    let many = acquire_each(&locks, 0..by_depth(4_000, 15_000)).await;
    let take_turns = async || {
        for _ in 0..200 {
            let guard = AdvisoryLock::new(-1).acquire(&locks).await.unwrap();
            guard.release().await.unwrap();
        }
    };
    let alone = processor_time(take_turns()).await;
    let held = acquire_each(&outside, 1_000_001..=1_000_003).await;
    let mut waits = pin!(acquire_each(&locks, 1_000_001..=1_000_003));
    drop_when(database.wait_until_waiting(3), &mut waits).await;
    drop(held);
    let queued = ends(waits).await;
    let last = AdvisoryLock::new(1_000_004);
    let held = last.acquire(&outside).await.unwrap();
    let mut waits = pin!(last.acquire(&locks));
    let beside = tokio::select! {
        _ = &mut waits => panic!("two holders"),
        beside = processor_time(take_turns()) => beside,
    };
    assert!(beside < alone * 4, "{alone:?} alone, {beside:?} beside");
    drop((many, queued, held));
    outside.close().await;
    locks.close().await;
}

/// Sweeps over what others hold leave room for what is free.
#[tokio::test]
async fn free_lock_is_granted_by_the_next_message_beside_many_waits() {
    let database = Database::on(large_server().await).await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let outside = LockSession::new(&database.pool(2).await);
    let locks = LockSession::new(&pool).queueing(0);
    let many = by_depth(1_000, 5_000);
    let held = acquire_each(&outside, 0..many).await;
    let mut waits = pin!(acquire_each(&locks, 0..many));
    poll_for(Duration::from_millis(500), &mut waits).await;
    let free = AdvisoryLock::new(-1);
    // On a busy machine, a sweep may follow before the grant is seen.
    let is_next = async || {
        let before = proxy.round_trips();
        let guard = free.acquire(&locks).await.unwrap();
        let trips = proxy.round_trips() - before;
        guard.release().await.unwrap();
        trips <= 3
    };
    let take_turns = async { assert!(is_ever(is_next).await) };
    drop_when(ends(take_turns), &mut waits).await;
    release_all(held).await;
    drop(ends(waits).await);
    outside.close().await;
    assert_closes(&locks, &database, &pool).await;
}

/// While the table is full, the harness can neither connect nor look.
#[tokio::test]
async fn full_lock_table_fails_only_those_that_do_not_fit() {
    let settings = &[
        ("max_locks_per_transaction", "10"),
        ("max_connections", "12"),
    ];
    let server = server(settings).await;
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let locks = LockSession::new(&pool);
    let ask = async |key: i64| {
        let several = (1..6).map(|n| key + 1_000_000 * n);
        let lock = match key % 100 {
            0 => AdvisoryLock::all(several),
            _ => AdvisoryLock::new(key),
        };
        lock.acquire(&locks).await
    };
    let (rounds, many) = by_depth((2, 1_500), (1, 20_000));
    for _ in 0..rounds {
        let asked = timeout(HANG_TIMEOUT * 5, join_all((0..many).map(ask))).await;
        let (mut guards, mut keys, mut refused) = (Vec::new(), 0, 0);
        for asked in asked.unwrap() {
            match asked {
                Ok(guard) => {
                    keys += guard.lock_id().keys().len();
                    guards.push(guard);
                }
                Err(Error::LockTableFull) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused > 0 && keys > 100, "{keys} keys, {refused} refused");
        release_all(guards).await;
        assert!(database.advisory_locks().await.is_empty());
    }
    locks.close().await;
}

#[tokio::test]
async fn requests_dropped_at_any_moment_leave_nothing() {
    let (database, pool, locks) = open(2).await;
    let outside = another_pool(&pool);
    let rounds = by_depth(5, 20);
    let mut tasks = JoinSet::new();
    for n in 0..200_i64 {
        let (locks, outside) = (locks.clone(), outside.clone());
        tasks.spawn(async move {
            for round in 0..rounds {
                let lock = match (n + round) % 5 {
                    0 => AdvisoryLock::new(1),
                    1 => AdvisoryLock::new(1).shared(),
                    2 => AdvisoryLock::all([1, 2, 3]),
                    3 => AdvisoryLock::all([3, 4]).shared(),
                    _ => AdvisoryLock::new(n),
                };
                let limit = Duration::from_micros(fastrand::u64(0..30_000));
                if n % 20 == 0 {
                    let _ = timeout(limit, lock.acquire(&outside)).await;
                } else if n % 3 == 0 {
                    let _ = lock.try_acquire(&locks).await.unwrap();
                } else {
                    let _ = timeout(limit, lock.acquire(&locks)).await;
                }
            }
        });
    }
    ends(tasks.join_all()).await;
    database.wait_until_held(0).await;
    assert_closes(&locks, &database, &pool).await;
}

#[tokio::test]
async fn readers_and_writers_of_few_keys_are_all_served() {
    let (database, pool) = Database::with_pool(3).await;
    let outside = another_pool(&pool);
    let rounds = by_depth(4, 20);
    for queueing in [0, 1, 3, usize::MAX] {
        let sessions = [&pool, &outside].map(LockSession::new);
        let sessions = sessions.map(|locks| locks.queueing(queueing));
        let mut tasks = JoinSet::new();
        for n in 0..90_i64 {
            let locks = sessions[usize::from(n % 2 == 0)].clone();
            tasks.spawn(async move {
                for round in 0..rounds {
                    let lock = match (n / 2 + round) % 6 {
                        0 => AdvisoryLock::new(1),
                        1 => AdvisoryLock::new(1).shared(),
                        2 => AdvisoryLock::all([1, 2, 3]),
                        3 => AdvisoryLock::all([2, 3]).shared(),
                        4 => AdvisoryLock::new(2).polling(Duration::from_millis(10)),
                        _ => AdvisoryLock::new(3).shared(),
                    };
                    let guard = lock.acquire(&locks).await.unwrap();
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    guard.release().await.unwrap();
                }
            });
        }
        ends(tasks.join_all()).await;
        for locks in sessions {
            locks.close().await;
        }
    }
    database.assert_nothing_leaked(&pool).await;
}
