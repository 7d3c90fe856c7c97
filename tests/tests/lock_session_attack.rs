//! Attacks on the sessions with many locks.

use std::future::pending;
use std::pin::pin;
use std::process::Command;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, LockSession};
use advisory_tests::{Cut, Database, Proxy, Side, another_pool, scalar};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use sqlx::Executor as _;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_secs(20);

const NAP: Duration = Duration::from_millis(20);

/// Runs an ignored test of this file in a process of its own, because it may overflow the stack.
fn run_alone(name: &str) {
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&test.stderr).into_owned();
    assert!(test.status.success(), "{}: {error}", test.status);
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn many_readers_of_one_key_are_granted_at_once() {
    run_alone("many_readers");
}

#[tokio::test]
#[ignore = "in a process of its own"]
async fn many_readers() {
    let (_database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let held = AdvisoryLock::new(1).acquire(&pool).await.unwrap();
    let mut readers = JoinSet::new();
    for _ in 0..20_000 {
        let locks = locks.clone();
        readers.spawn(async move {
            let lock = AdvisoryLock::new(1).shared();
            lock.acquire(&locks).await.unwrap().release().await.unwrap();
        });
    }
    tokio::task::yield_now().await;
    held.release().await.unwrap();
    timeout(HANG_TIMEOUT * 2, readers.join_all()).await.unwrap();
}

#[test]
fn many_tries_of_one_key_are_answered() {
    run_alone("many_tries");
}

#[tokio::test]
#[ignore = "in a process of its own"]
async fn many_tries() {
    let (_database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new(1);
    let tries = (0..20_000).map(|_| lock.try_acquire(&locks));
    let tried = timeout(HANG_TIMEOUT * 2, join_all(tries)).await.unwrap();
    let won = tried.into_iter().filter(|one| matches!(one, Ok(Some(_))));
    assert_eq!(won.count(), 1);
}

/// Tries that are under way together are answered together.
#[tokio::test]
async fn tries_of_one_key_share_a_round_trip() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let outside = database.pool(1).await;
    let _held = AdvisoryLock::new(1).acquire(&outside).await.unwrap();
    let lock = AdvisoryLock::new(1);
    assert!(lock.try_acquire(&locks).await.unwrap().is_none());
    for many in [500, 2_000] {
        proxy.reset();
        let started = Instant::now();
        let tried = join_all((0..many).map(|_| lock.try_acquire(&locks))).await;
        assert!(tried.iter().all(|tried| matches!(tried, Ok(None))));
        let trips = proxy.round_trips();
        println!("{many} tries: {trips} round trips, {:?}", started.elapsed());
        assert!(trips <= 10, "{many} tries: {trips} round trips");
    }
}

#[tokio::test]
async fn polls_keep_their_interval() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let outside = database.pool(1).await;
    let _held = AdvisoryLock::new(1).acquire(&outside).await.unwrap();
    assert!(
        AdvisoryLock::new(1)
            .try_acquire(&locks)
            .await
            .unwrap()
            .is_none()
    );
    proxy.reset();
    let lock = AdvisoryLock::new(1).polling(Duration::from_secs(60));
    let waited = timeout(Duration::from_secs(1), lock.acquire(&locks)).await;
    assert!(waited.is_err());
    let trips = proxy.round_trips();
    assert!(trips <= 10, "{trips} round trips in a second");
}

/// As in the other scopes: the last poll is made at the deadline.
#[tokio::test]
async fn last_poll_is_made_at_the_deadline() {
    let (database, pool) = Database::with_pool(2).await;
    let outside = another_pool(&pool);
    let locks = LockSession::new(&pool);
    let other = AdvisoryLock::new(2).acquire(&locks).await.unwrap();
    let held = AdvisoryLock::all([1, 2])
        .timeout(Duration::from_millis(1))
        .acquire(&outside)
        .await;
    assert!(held.is_err());
    let held = AdvisoryLock::new(1).acquire(&outside).await.unwrap();
    let lock = AdvisoryLock::new(1)
        .polling(Duration::from_secs(600))
        .timeout(Duration::from_secs(3));
    let mut wait = pin!(lock.acquire(&locks));
    assert!(timeout(NAP, &mut wait).await.is_err());
    held.release().await.unwrap();
    let guard = wait.await.unwrap();
    drop((guard, other));
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

/// A wait does not stand behind a poll that is not made for a long time.
#[tokio::test]
async fn wait_is_served_while_a_poll_pauses() {
    let (_database, pool) = Database::with_pool(2).await;
    let outside = another_pool(&pool);
    let locks = LockSession::new(&pool);
    let held = AdvisoryLock::new(1).acquire(&outside).await.unwrap();
    let poll = AdvisoryLock::new(1).polling(Duration::from_secs(600));
    let mut polls = pin!(poll.acquire(&locks));
    assert!(timeout(NAP, &mut polls).await.is_err());
    let lock = AdvisoryLock::new(1);
    let mut waits = pin!(lock.acquire(&locks));
    assert!(timeout(NAP, &mut waits).await.is_err());
    held.release().await.unwrap();
    let waited = async {
        tokio::select! {
            guard = &mut polls => drop(guard),
            guard = &mut waits => drop(guard),
        }
    };
    timeout(HANG_TIMEOUT, waited).await.unwrap();
}

/// A look that is under way is waited for asleep.
#[tokio::test]
async fn owner_sleeps_while_it_looks() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let shared = AdvisoryLock::new(1).shared();
    let first = shared.acquire(&locks).await.unwrap();
    // Looks at least once.
    let mut guards = Vec::new();
    for _ in 0..6 {
        sleep(NAP).await;
        guards.push(shared.acquire(&locks).await.unwrap());
    }
    sleep(NAP * 4).await;
    proxy.set_silent(true);
    let before = thread_time();
    let mut joins = pin!(shared.acquire(&locks));
    assert!(timeout(Duration::from_secs(2), &mut joins).await.is_err());
    let used = thread_time() - before;
    proxy.set_silent(false);
    assert!(used < Duration::from_millis(300), "{used:?} of 2 s");
    drop((first, guards));
}

/// Readers join again when the writer that they made way for has given up.
#[tokio::test]
async fn readers_join_when_nobody_waits_any_more() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let shared = AdvisoryLock::new(1).shared();
    let _first = shared.acquire(&locks).await.unwrap();
    let writer = AdvisoryLock::new(1);
    let outside = another_pool(&pool);
    {
        let mut writes = pin!(writer.acquire(&outside));
        tokio::select! {
            _ = &mut writes => panic!("two holders"),
            () = database.wait_until_waiting(1) => {}
        }
        while shared.try_acquire(&locks).await.unwrap().is_some() {
            sleep(NAP).await;
        }
    }
    database.wait_until_waiting(0).await;
    // Another process can have it.
    assert!(shared.try_acquire(&outside).await.unwrap().is_some());
    let joined = timeout(Duration::from_secs(5), shared.acquire(&locks)).await;
    assert!(joined.is_ok(), "a reader waits for nobody");
}

/// An error that stays is told to those who asked.
#[tokio::test]
async fn function_that_is_denied_is_an_error() {
    let database = Database::new().await;
    let role = format!("denied_{}", database.name());
    database
        .execute(format!(
            "CREATE ROLE \"{role}\" LOGIN PASSWORD 'x';
             REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(int8) FROM PUBLIC"
        ))
        .await;
    let options = database.options().username(&role).password("x");
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .unwrap();
    let lock = AdvisoryLock::new(1);
    let other = lock.try_acquire(&pool).await;
    println!("on a pool: {:?}", other.as_ref().map(|_| ()));
    let locks = LockSession::new(&pool);
    let asked = timeout(Duration::from_secs(5), lock.try_acquire(&locks)).await;
    locks.close().await;
    pool.close().await;
    database
        .execute(format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""))
        .await;
    assert!(matches!(asked, Ok(Err(_))), "{asked:?}");
}

/// Fencing tokens do not keep everything else out.
#[tokio::test]
async fn lock_is_granted_while_others_take_tokens() {
    let (_database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    let taken = std::cell::Cell::new(0);
    let takers = (0..100).map(|_| async {
        loop {
            guard.fencing_token().await.unwrap();
            taken.set(taken.get() + 1);
        }
    });
    let mut takers = pin!(join_all(takers).map(|_: Vec<()>| ()));
    while taken.get() < 100 {
        assert!(timeout(NAP, &mut takers).await.is_err());
    }
    let before = taken.get();
    let lock = AdvisoryLock::new(2).timeout(Duration::from_secs(1));
    let asks = timeout(Duration::from_secs(10), lock.acquire(&locks));
    tokio::select! {
        () = takers => unreachable!(),
        asked = asks => {
            let taken = taken.get() - before;
            println!("after {taken} tokens: {asked:?}");
            let _guard = asked.expect("neither granted nor refused").unwrap();
            assert!(taken < 250, "after {taken} tokens");
        }
    }
}

/// The time to open the session is not taken from a short timeout of a free lock.
#[tokio::test]
async fn short_timeout_is_enough_for_a_free_lock() {
    let (_database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new(1).timeout(Duration::from_millis(1));
    let guard = lock.acquire(&pool).await;
    assert!(guard.is_ok(), "on a pool: {guard:?}");
    drop(guard);
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(2)
        .timeout(Duration::from_millis(1))
        .acquire(&locks)
        .await;
    assert!(guard.is_ok(), "{guard:?}");
}

/// A connection that queues and falls silent is noticed, as the others are.
#[tokio::test]
async fn wait_survives_a_silent_session_that_queues() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool).queueing(1);
    let outside = database.pool(1).await;
    let lock = AdvisoryLock::new(1)
        .keepalive_interval(Duration::from_millis(500))
        .response_timeout(Duration::from_millis(500));
    let held = lock.acquire(&outside).await.unwrap();
    let mut wait = pin!(lock.acquire(&locks));
    tokio::select! {
        _ = &mut wait => panic!("two holders"),
        () = database.wait_until_waiting(1) => {}
    }
    proxy.cut_after(Side::Server, 1, Cut::Silence);
    held.release().await.unwrap();
    let waited = timeout(HANG_TIMEOUT, wait).await;
    let is_held = database.advisory_locks().await;
    proxy.set_silent(false);
    assert!(waited.is_ok(), "waits for ever; {is_held:?}");
}

/// Whatever falls silent while the session is opened.
#[tokio::test]
async fn opening_ends_in_time_on_a_silent_network() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    for n in 1..4 {
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(1))
            .connect_with(proxy.options())
            .await
            .unwrap();
        let locks = LockSession::new(&pool);
        let lock = AdvisoryLock::new(1).response_timeout(Duration::from_millis(300));
        proxy.cut_after(Side::Client, n, Cut::Silence);
        proxy.reset();
        let asked = timeout(Duration::from_secs(8), lock.acquire(&locks)).await;
        let has_cut = proxy.has_cut();
        proxy.disarm();
        println!(
            "{n}: {has_cut} {:?}",
            asked.as_ref().map(|a| a.as_ref().map(|_| ()))
        );
        let dump = proxy.dump();
        proxy.set_silent(false);
        assert!(asked.is_ok(), "silent after message {n}:\n{dump}");
        if !has_cut {
            break;
        }
        drop(asked);
        locks.close().await;
    }
}

/// Guards are told before others can have their locks.
#[tokio::test]
async fn close_tells_the_guards_first() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let outside = database.pool(1).await;
    let lock = AdvisoryLock::new(1);
    let guard = lock.acquire(&locks).await.unwrap();
    let mut waits = pin!(lock.acquire(&outside));
    tokio::select! {
        _ = &mut waits => panic!("two holders"),
        () = database.wait_until_waiting(1) => {}
    }
    proxy.set_delay(Duration::from_millis(500));
    let mut body = pin!(guard.until_lost(pending::<()>()));
    assert!((&mut body).now_or_never().is_none());
    let mut closes = pin!(locks.close());
    let other = tokio::select! {
        other = &mut waits => other.unwrap(),
        () = &mut closes => waits.await.unwrap(),
    };
    assert!(guard.is_lost(), "two holders");
    drop(other);
}

/// The second call returns when the locks are released, too.
#[tokio::test]
async fn second_close_waits_for_the_first() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let _guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    proxy.set_delay(Duration::from_millis(300));
    let first = tokio::spawn({
        let locks = locks.clone();
        async move { locks.close().await }
    });
    // The first one is under way.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    locks.close().await;
    let held = database.advisory_locks().await;
    first.await.unwrap();
    assert!(held.is_empty(), "{held:?}");
}

/// A deadline holds although nobody drives the runtime of the first caller.
#[test]
fn timeout_holds_when_the_first_runtime_is_parked() {
    let build = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (build(), build());
    let (database, pool) = first.block_on(Database::with_pool(2));
    let locks = LockSession::new(&pool);
    let guard = first.block_on(AdvisoryLock::new(1).acquire(&locks));
    let _guard = guard.unwrap();
    let lock = AdvisoryLock::new(2).timeout(Duration::from_millis(200));
    let asked = second.block_on(async { timeout(HANG_TIMEOUT, lock.acquire(&locks)).await });
    drop(database);
    assert!(
        asked.is_ok(),
        "a timeout of 200 ms has not ended after 20 s"
    );
}

/// Nothing is acquired after `close` has returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acquired_after_close() {
    let (_database, pool) = Database::with_pool(2).await;
    let mut late = 0;
    for n in 0..150 {
        let locks = LockSession::new(&pool);
        let asks = tokio::spawn({
            let locks = locks.clone();
            async move {
                for _ in 0..n % 7 {
                    tokio::task::yield_now().await;
                }
                AdvisoryLock::new(n).acquire(&locks).await
            }
        });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        locks.close().await;
        if let Ok(guard) = asks.await.unwrap()
            && !guard.is_lost()
        {
            late += 1;
        }
    }
    assert_eq!(late, 0);
}

/// What it costs to ask, with many locks and sessions that have queued.
#[tokio::test]
async fn many_locks_do_not_slow_down_others() {
    let server = advisory_tests::Server::start_with(&[("max_locks_per_transaction", "512")]);
    let server = server.unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let outside = LockSession::new(&another_pool(&pool));
    let locks = LockSession::new(&pool);
    let keys: Vec<i64> = (0..15_000).collect();
    let _many = join_all(keys.iter().map(|key| AdvisoryLock::new(*key)).map(|lock| {
        let locks = &locks;
        async move { lock.acquire(locks).await.unwrap() }
    }))
    .await;
    let pairs = async || {
        let started = Instant::now();
        for _ in 0..200 {
            let guard = AdvisoryLock::new(-1).acquire(&locks).await.unwrap();
            guard.release().await.unwrap();
        }
        started.elapsed()
    };
    let alone = pairs().await;
    let last = [1_000_001, 1_000_002, 1_000_003].map(AdvisoryLock::new);
    let held = join_all(last.iter().map(|lock| lock.acquire(&outside))).await;
    let waits = join_all(last.iter().map(|lock| lock.acquire(&locks)));
    let mut waits = pin!(waits);
    tokio::select! {
        _ = &mut waits => panic!("two holders"),
        () = database.wait_until_waiting(3) => {}
    }
    drop(held);
    let _spares = waits.await;
    let other = AdvisoryLock::new(1_000_004);
    let _held = other.acquire(&outside).await.unwrap();
    let mut waits = pin!(other.acquire(&locks));
    let beside = tokio::select! {
        _ = &mut waits => panic!("two holders"),
        beside = pairs() => beside,
    };
    println!("200 pairs: {alone:?} alone, {beside:?} with spares");
    assert!(
        beside < alone * 4,
        "{alone:?} alone, {beside:?} with spares"
    );
}

async fn count_in(database: &Database) -> i64 {
    let mut connection = database.connection().await;
    scalar(
        &mut connection,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
    )
    .await
}

/// Everything is dropped at every moment, and nothing leaks.
#[tokio::test]
async fn dropped_at_any_moment() {
    let (database, pool) = Database::with_pool(2).await;
    let outside = another_pool(&pool);
    let locks = LockSession::new(&pool);
    let mut tasks = JoinSet::new();
    for n in 0..200_i64 {
        let (locks, outside) = (locks.clone(), outside.clone());
        tasks.spawn(async move {
            for round in 0..10 {
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
    timeout(HANG_TIMEOUT * 3, tasks.join_all()).await.unwrap();
    database.wait_until_held(0).await;
    assert_eq!(count_in(&database).await, 0);
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

/// The runtime of the owner ends under guards and waits of another runtime.
#[test]
fn runtime_ends_under_guards_and_waits_of_another() {
    let build = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (build(), build());
    let database = second.block_on(Database::new());
    let pool = second.block_on(database.pool(2));
    let locks = LockSession::new(&pool);
    let owner = first.block_on(async { AdvisoryLock::new(9).acquire(&locks).await.unwrap() });
    second.block_on(async {
        let lock = AdvisoryLock::new(1);
        let guard = lock.acquire(&locks).await.unwrap();
        let mut waits = pin!(lock.acquire(&locks));
        assert!(timeout(NAP, &mut waits).await.is_err());
        first.shutdown_background();
        timeout(HANG_TIMEOUT, guard.lost()).await.unwrap();
        let next = timeout(HANG_TIMEOUT, waits).await.unwrap().unwrap();
        assert!(owner.is_lost() && !next.is_lost());
        assert!(guard.release().await.unwrap_err().is_lost());
        drop(next);
        database.wait_until_held(0).await;
        let guard = AdvisoryLock::new(3).acquire(&locks).await.unwrap();
        std::thread::spawn(move || drop(guard)).join().unwrap();
        database.wait_until_held(0).await;
        locks.close().await;
        database.assert_nothing_leaked(&pool).await;
    });
}

/// An administrator cancels one batch after the other.
#[tokio::test]
async fn cancelled_batch_loses_nothing() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let kept = AdvisoryLock::new(-5).acquire(&locks).await.unwrap();
    let pid = database.advisory_locks().await[0].pid;
    let mut canceller = database.connection().await;
    let cancels = async {
        loop {
            let cancel = format!("SELECT pg_cancel_backend({pid})");
            canceller
                .execute(sqlx::AssertSqlSafe(cancel))
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        for _ in 0..100 {
            let taken = (0..60).map(|key| {
                let locks = &locks;
                async move { AdvisoryLock::new(key).acquire(locks).await }
            });
            for guard in join_all(taken).await {
                drop(guard.unwrap());
            }
        }
    };
    tokio::select! {
        () = cancels => unreachable!(),
        worked = timeout(HANG_TIMEOUT, work) => worked.unwrap(),
    }
    println!("lost: {}", kept.is_lost());
    if !kept.is_lost() {
        kept.release().await.unwrap();
    }
    database.wait_until_held(0).await;
}

/// Spares, deadlines and drops on a server that restarts.
#[tokio::test]
async fn server_that_comes_back_serves_those_who_wait() {
    let server = advisory_tests::Server::start().unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let locks = LockSession::new(&pool);
    let guard = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
    for how in [
        advisory_tests::Shutdown::Fast,
        advisory_tests::Shutdown::Kill,
    ] {
        server.stop(how).await;
        timeout(HANG_TIMEOUT, guard.lost()).await.unwrap();
        let short = AdvisoryLock::new(1).timeout(Duration::from_millis(300));
        let started = Instant::now();
        let refused = short.try_acquire(&locks).await;
        assert!(matches!(refused, Err(Error::Database(_))), "{refused:?}");
        assert!(started.elapsed() < Duration::from_secs(2));
        let (lock, tries) = (AdvisoryLock::new(2), AdvisoryLock::new(3));
        let mut waits = pin!(lock.acquire(&locks));
        let mut tried = pin!(tries.try_acquire(&locks));
        let before = thread_time();
        assert!(timeout(Duration::from_secs(1), &mut waits).await.is_err());
        assert!(timeout(NAP, &mut tried).await.is_err());
        assert!(thread_time() - before < Duration::from_millis(300));
        server.restart(how).await;
        let waited = timeout(HANG_TIMEOUT, waits).await.unwrap().unwrap();
        assert!(tried.await.unwrap().is_some());
        assert!(guard.is_lost() && !waited.is_lost());
    }
    locks.close().await;
}

/// Nothing spins while the server is away, whatever was to be looked at before.
#[tokio::test]
async fn owner_sleeps_when_the_server_is_lost_during_a_look() {
    let server = advisory_tests::Server::start().unwrap();
    let database = Database::on(&server).await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let shared = AdvisoryLock::new(1).shared();
    let mut guards = vec![shared.acquire(&locks).await.unwrap()];
    for _ in 0..6 {
        sleep(NAP).await;
        guards.push(shared.acquire(&locks).await.unwrap());
    }
    sleep(NAP * 4).await;
    proxy.set_silent(true);
    let mut joins = Box::pin(shared.acquire(&locks));
    assert!(timeout(NAP, &mut joins).await.is_err());
    drop(joins);
    proxy.set_silent(false);
    server.stop(advisory_tests::Shutdown::Kill).await;
    for guard in guards {
        timeout(HANG_TIMEOUT, guard.lost()).await.unwrap();
    }
    let before = thread_time();
    sleep(Duration::from_secs(2)).await;
    let used = thread_time() - before;
    assert!(used < Duration::from_millis(300), "{used:?} of 2 s");
}

/// Closing a session whose network is silent takes one response timeout.
#[tokio::test]
async fn close_on_a_silent_network_ends_in_time() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    let outside = LockSession::new(&database.pool(2).await);
    let limit = Duration::from_millis(500);
    let lock = |key: i64| AdvisoryLock::new(key).response_timeout(limit);
    let keys = [1, 2, 3].map(lock);
    let held = join_all(keys.iter().map(|lock| lock.acquire(&outside))).await;
    let mut waits = pin!(join_all(keys.iter().map(|lock| lock.acquire(&locks))));
    tokio::select! {
        _ = &mut waits => panic!("two holders"),
        () = database.wait_until_waiting(3) => {}
    }
    drop(held);
    let _guards = waits.await;
    proxy.set_silent(true);
    let started = Instant::now();
    timeout(HANG_TIMEOUT, locks.close()).await.unwrap();
    let took = started.elapsed();
    proxy.set_silent(false);
    assert!(
        took < limit * 2,
        "{took:?} with a response timeout of {limit:?}"
    );
}

/// One wait without a session that may queue does not starve, nor does the rest.
#[tokio::test]
async fn many_readers_and_writers_of_few_keys_end() {
    let (database, pool) = Database::with_pool(3).await;
    let outside = another_pool(&pool);
    for queueing in [0, 1, 3] {
        let sessions = [
            LockSession::new(&pool).queueing(queueing),
            LockSession::new(&outside).queueing(queueing),
        ];
        let mut tasks = JoinSet::new();
        for n in 0..90_i64 {
            let locks = sessions[usize::from(n % 2 == 0)].clone();
            tasks.spawn(async move {
                for round in 0..10 {
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
        timeout(HANG_TIMEOUT, tasks.join_all())
            .await
            .unwrap_or_else(|_| panic!("queueing {queueing}"));
        for locks in sessions {
            locks.close().await;
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

/// A try after a dropped wait is not refused while nobody else has the lock.
#[tokio::test]
async fn try_after_a_dropped_wait_is_granted() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(2).await;
    let locks = LockSession::new(&pool);
    drop(AdvisoryLock::new(9).acquire(&locks).await.unwrap());
    proxy.set_delay(Duration::from_millis(200));
    let lock = AdvisoryLock::new(1);
    {
        let mut waits = pin!(lock.acquire(&locks));
        assert!(timeout(NAP * 5, &mut waits).await.is_err());
    }
    let tried = lock.try_acquire(&locks).await.unwrap();
    assert!(tried.is_some(), "refused, and nobody has it");
}

/// The work for requests that fail together grows with their number, not with its square.
#[tokio::test]
async fn many_tries_fail_together_quickly() {
    let server = advisory_tests::Server::start().unwrap();
    let database = Database::on(&server).await;
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect_with(database.options())
        .await
        .unwrap();
    server.stop(advisory_tests::Shutdown::Kill).await;
    let mut took = Vec::new();
    for many in [1_000, 8_000] {
        let locks = LockSession::new(&pool);
        let lock = AdvisoryLock::new(1);
        let before = thread_time();
        // Not in one task, whose budget would count.
        let mut tasks = JoinSet::new();
        for _ in 0..many {
            let (lock, locks) = (lock.clone(), locks.clone());
            tasks.spawn(async move { lock.try_acquire(&locks).await.is_err() });
        }
        assert!(tasks.join_all().await.into_iter().all(|failed| failed));
        took.push(thread_time() - before);
    }
    println!("1,000 and 8,000 tries: {took:?}");
    assert!(took[1] < took[0] * 24, "{took:?}");
}

/// A full lock table: neighbours get their locks, and nothing is held that nobody owns.
#[tokio::test]
async fn full_lock_table_is_told_to_those_who_do_not_fit() {
    let server = advisory_tests::Server::start_with(&[
        ("max_locks_per_transaction", "10"),
        ("max_connections", "12"),
    ])
    .unwrap();
    let database = Database::on(&server).await;
    let pool = database.pool(2).await;
    let locks = LockSession::new(&pool);
    for round in 0..3 {
        let asked = (0..20_000_i64).map(|key| {
            let locks = &locks;
            async move {
                if key % 100 == 0 {
                    let keys = (0..5).map(|n| key + 1_000_000 * (n + 1));
                    AdvisoryLock::all(keys).acquire(locks).await
                } else {
                    AdvisoryLock::new(key).acquire(locks).await
                }
            }
        });
        let asked = timeout(HANG_TIMEOUT * 3, join_all(asked)).await.unwrap();
        let (mut guards, mut keys, mut full) = (Vec::new(), 0, 0);
        for asked in asked {
            match asked {
                Ok(guard) => {
                    keys += guard.lock_id().keys().len();
                    guards.push(guard);
                }
                Err(Error::LockTableFull) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        println!("round {round}: {keys} keys held, {full} refused");
        assert!(full > 0 && keys > 100);
        // The harness cannot look while the table is full.
        let released = guards.into_iter().map(|guard| guard.release());
        for released in join_all(released).await {
            released.unwrap();
        }
        assert!(database.advisory_locks().await.is_empty());
    }
    locks.close().await;
}

/// Statements that are cancelled never give a lock to two.
#[tokio::test]
async fn cancelled_statements_never_give_a_lock_to_two() {
    let (database, pool) = Database::with_pool(8).await;
    database
        .execute("CREATE TABLE counter AS SELECT k, 0::bigint AS n FROM generate_series(0, 2) k")
        .await;
    let sessions = [
        LockSession::new(&pool),
        LockSession::new(&another_pool(&pool)),
    ];
    // A cancel during the first grant of a pool is another test.
    for locks in &sessions {
        drop(AdvisoryLock::new(9).acquire(locks).await.unwrap());
    }
    let mut tasks = JoinSet::new();
    for n in 0..12_i64 {
        let (locks, pool) = (sessions[usize::from(n % 2 == 0)].clone(), pool.clone());
        tasks.spawn(async move {
            for round in 0..25 {
                let key = (n + round) % 3;
                let lock = if round % 4 == 0 {
                    AdvisoryLock::all([0, 1, 2])
                } else {
                    AdvisoryLock::new(key)
                };
                let guard = lock.acquire(&locks).await.unwrap();
                let read = sqlx::query_scalar::<_, i64>("SELECT n FROM counter WHERE k = $1");
                let number = read.bind(key).fetch_one(&pool).await.unwrap();
                tokio::task::yield_now().await;
                sqlx::query("UPDATE counter SET n = $1 WHERE k = $2")
                    .bind(number + 1)
                    .bind(key)
                    .execute(&pool)
                    .await
                    .unwrap();
                drop(guard);
            }
        });
    }
    let mut canceller = database.connection().await;
    let cancels = async {
        loop {
            let cancel = "SELECT pg_cancel_backend(l.pid) FROM pg_locks l \
                          WHERE l.locktype = 'advisory' AND random() < 0.3";
            canceller.execute(cancel).await.unwrap();
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = cancels => unreachable!(),
        done = timeout(HANG_TIMEOUT * 2, tasks.join_all()) => drop(done.unwrap()),
    }
    let total: i64 = scalar(&pool, "SELECT sum(n)::bigint FROM counter").await;
    assert_eq!(total, 300);
    for locks in sessions {
        locks.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
async fn measure_expiry() {
    let (_database, pool) = Database::with_pool(2).await;
    for many in [8_000, 32_000, 64_000] {
        let locks = LockSession::new(&pool);
        let first = AdvisoryLock::new(1).acquire(&locks).await.unwrap();
        let lock = AdvisoryLock::new(1).timeout(Duration::from_secs(3));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..many {
            let (locks, lock) = (locks.clone(), lock.clone());
            tasks.spawn(async move {
                let started = Instant::now();
                assert!(lock.try_acquire(&locks).await.unwrap().is_none());
                started.elapsed()
            });
        }
        let longest = tasks.join_all().await.into_iter().max();
        println!(
            "{many}: all after {:?}, the longest {longest:?}",
            started.elapsed()
        );
        first.release().await.unwrap();
        locks.close().await;
    }
}

/// A cancel during the first grant of a pool takes nothing from anybody.
#[tokio::test]
async fn cancel_during_the_first_grant_is_no_error() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut canceller = database.connection().await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                  WHERE pid <> pg_backend_pid() AND datname = current_database() \
                  AND state = 'active' AND query LIKE '%pg_lock_status%'";
    for _ in 0..10 {
        let pool = proxy.pool(2).await;
        let locks = LockSession::new(&pool);
        let mut cancels = 0_u32;
        let asked = async {
            let lock = AdvisoryLock::new(1);
            lock.acquire(&locks).await
        };
        let cancelling = async {
            loop {
                canceller.execute(cancel).await.unwrap();
                cancels += 1;
            }
        };
        let asked = tokio::select! {
            asked = timeout(HANG_TIMEOUT, asked) => asked.unwrap(),
            () = cancelling => unreachable!(),
        };
        assert!(asked.is_ok(), "after {cancels} looks: {asked:?}");
        drop(asked);
        locks.close().await;
    }
}

/// Sweeps over what others hold leave room for what is free.
#[tokio::test]
async fn many_waits_do_not_slow_down_others() {
    let (_database, pool) = Database::with_pool(2).await;
    let outside = LockSession::new(&another_pool(&pool));
    let locks = LockSession::new(&pool).queueing(0);
    let all = (0..3_000).map(AdvisoryLock::new).collect::<Vec<_>>();
    let held = join_all(all.iter().map(|lock| lock.acquire(&outside))).await;
    assert!(held.iter().all(Result::is_ok));
    let pairs = async || {
        let started = Instant::now();
        for _ in 0..200 {
            let guard = AdvisoryLock::new(-1).acquire(&locks).await.unwrap();
            guard.release().await.unwrap();
        }
        started.elapsed()
    };
    let alone = pairs().await;
    let mut waits = JoinSet::new();
    for lock in all {
        let locks = locks.clone();
        waits.spawn(async move { lock.acquire(&locks).await.is_ok() });
    }
    assert!(
        timeout(Duration::from_secs(1), waits.join_next())
            .await
            .is_err()
    );
    let beside = pairs().await;
    println!("200 pairs: {alone:?} alone, {beside:?} beside 3,000 waits");
    assert!(
        beside < alone * 4,
        "{alone:?} alone, {beside:?} beside 3,000 waits"
    );
    waits.shutdown().await;
}
