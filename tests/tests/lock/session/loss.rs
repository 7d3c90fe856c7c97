//! A holder whose session is lost is notified and stops.

use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, SessionGuard, advisory};
use advisory_tests::{Database, Proxy, another_pool, is_ever};
use sqlx::{Executor as _, PgPool};
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// A guard whose session is not probed in the time of a test, so that a loss is noticed when the
/// server closes the connection.
async fn acquire(pool: &PgPool) -> SessionGuard {
    probed(pool, Duration::from_hours(1)).await
}

/// A guard whose session is probed at this interval, and has a minute to respond.
async fn probed(pool: &PgPool, interval: Duration) -> SessionGuard {
    let lock = AdvisoryLock::new("leader").keepalive_interval(interval);
    let lock = lock.response_timeout(Duration::from_mins(1));
    lock.acquire(pool).await.unwrap()
}

/// A guard whose session is probed at this interval, and has a second to respond.
async fn probed_hastily(pool: &PgPool, name: &str, interval: Duration) -> SessionGuard {
    let lock = AdvisoryLock::new(name).keepalive_interval(interval);
    let lock = lock.response_timeout(Duration::from_secs(1));
    lock.acquire(pool).await.unwrap()
}

/// Watches the guard for so many milliseconds.
async fn assert_not_lost(guard: &SessionGuard, milliseconds: u64) {
    let watched = timeout(Duration::from_millis(milliseconds), guard.lost()).await;
    assert!(watched.is_err());
}

#[tokio::test]
async fn terminated_session_is_noticed_at_once() {
    let (database, pool) = Database::with_pool(2).await;
    let mut noticed = Vec::new();
    for _ in 0..50 {
        let guard = acquire(&pool).await;
        let terminated = async {
            database.terminate_lockers().await;
            Instant::now()
        };
        let watched = async { tokio::join!(guard.lost(), terminated) };
        let ((), terminated) = timeout(HANG_TIMEOUT, watched).await.unwrap();
        noticed.push(terminated.elapsed());
        assert!(guard.is_lost());
        assert!(guard.release().await.unwrap_err().is_lost());
    }
    noticed.sort_unstable();
    println!(
        "loss noticed after {:?} (median of {}), {:?} at most",
        noticed[25],
        noticed.len(),
        noticed[49]
    );
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn lost_guard_reports_the_loss_in_every_method() {
    let (database, pool) = Database::with_pool(3).await;
    let lock = AdvisoryLock::new("leader");

    // `lost` is called after the session has ended.
    let guard = acquire(&pool).await;
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
    timeout(HANG_TIMEOUT, guard.lost()).await.unwrap();
    guard.lost().await;
    assert!(guard.release().await.unwrap_err().is_lost());

    // The guard is released without a check.
    let guard = acquire(&pool).await;
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
    let other = lock.try_acquire(&pool).await.unwrap().unwrap();
    assert!(
        timeout(HANG_TIMEOUT, guard.release())
            .await
            .unwrap()
            .unwrap_err()
            .is_lost()
    );
    assert_eq!(
        database.advisory_locks().await.len(),
        1,
        "a lost guard does not release the lock of another session"
    );
    other.release().await.unwrap();

    // The connection is requested. The guard does not open a new session, which would not hold the
    // lock.
    let mut guard = acquire(&pool).await;
    database.terminate_lockers().await;
    database.wait_until_held(0).await;
    let error = loop {
        match guard.connection().await {
            Ok(conn) => drop(conn.execute("SELECT 1").await),
            Err(error) => break error,
        }
    };
    assert!(error.is_lost() && guard.is_lost());
    drop(guard);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn watched_session_is_idle_on_the_server() {
    let (database, pool) = Database::with_pool(1).await;
    let guard = probed(&pool, Duration::from_millis(1)).await;
    let seen = async {
        for _ in 0..100 {
            let backends = database.backends().await;
            assert_eq!(backends.len(), 1);
            assert_eq!(backends[0].state.as_deref(), Some("idle"), "{backends:?}");
            assert!(!backends[0].in_transaction);
        }
    };
    guard.until_lost(seen).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn silent_network_is_noticed_within_the_bound() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(3).await;
    let interval = Duration::from_millis(200);
    // The default interval and the default response timeout are five seconds each.
    let bound = interval + Duration::from_secs(1) + Duration::from_secs(3);
    let is_in_time = async || {
        let (watched, released) = tokio::join!(
            probed_hastily(&pool, "watched", interval),
            probed_hastily(&pool, "released", interval)
        );
        proxy.set_silent(true);
        let silent = Instant::now();
        watched.lost().await;
        let noticed = silent.elapsed();
        println!("a silent network was noticed after {noticed:?}, probing every {interval:?}");
        let asked = Instant::now();
        assert!(released.release().await.unwrap_err().is_lost());
        let refused = asked.elapsed();
        drop(watched);
        // The connections return to the pool, and no lock is held when the network works again.
        proxy.set_silent(false);
        database.assert_nothing_leaked(&pool).await;
        noticed < bound && refused < bound
    };
    assert!(is_ever(is_in_time).await);
}

#[tokio::test]
async fn many_short_watches_detect_a_loss_as_one_long_watch_does() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pool = proxy.pool(1).await;
    let guard = probed_hastily(&pool, "leader", Duration::from_millis(300)).await;
    proxy.set_silent(true);
    let noticed = async {
        while guard
            .until_lost(tokio::time::sleep(Duration::from_millis(20)))
            .await
            .is_ok()
        {}
    };
    timeout(HANG_TIMEOUT, noticed)
        .await
        .expect("the silence is noticed");
    proxy.set_silent(false);
    drop(guard);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn every_watcher_is_notified_also_beside_one_that_is_not_polled() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = acquire(&pool).await;
    let mut first = pin!(guard.lost());
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    let in_a_task = tokio::spawn(guard.lost());
    let (second, third) = (guard.lost(), guard.until_lost(std::future::pending::<()>()));
    let all = async { tokio::join!(second, third, in_a_task, database.terminate_lockers()) };
    let ((), third, in_a_task, ()) = timeout(HANG_TIMEOUT, all).await.unwrap();
    assert!(third.unwrap_err().is_lost());
    in_a_task.unwrap();
    assert!(guard.is_lost());
    timeout(HANG_TIMEOUT, first).await.unwrap();
}

#[tokio::test]
async fn is_lost_detects_the_loss_while_others_watch() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = acquire(&pool).await;
    let mut watcher = pin!(guard.lost());
    assert!(futures_util::poll!(watcher.as_mut()).is_pending());
    database.terminate_lockers().await;
    let looked = async {
        while !guard.is_lost() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(HANG_TIMEOUT, looked).await.unwrap();
}

#[tokio::test]
async fn dropped_statement_is_not_a_loss() {
    let (database, pool) = Database::with_pool(1).await;
    for statement in [
        "SELECT pg_sleep(2)",
        "SET statement_timeout = '300ms'; SELECT pg_sleep(60)",
    ] {
        // A busy machine may take longer than a second to respond.
        let is_kept = async || {
            let mut guard = probed_hastily(&pool, "leader", Duration::from_millis(100)).await;
            let conn = guard.connection().await.unwrap();
            let dropped = timeout(Duration::from_millis(50), conn.execute(statement));
            assert!(dropped.await.is_err());
            let ended = database.wait_until_backends("the end of the statement", |backends| {
                let mut states = backends.iter().map(|backend| backend.state.as_deref());
                states.all(|state| state == Some("idle"))
            });
            let watched = async {
                guard.until_lost(ended).await?;
                let length = tokio::time::sleep(Duration::from_millis(1_500));
                guard.until_lost(length).await
            };
            watched.await.is_ok() && guard.release().await.is_ok()
        };
        assert!(is_ever(is_kept).await, "{statement}");
        pool.execute("RESET statement_timeout").await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

/// The statement reads the answer to the probe that was sent before it.
#[tokio::test]
async fn dropped_statement_after_a_probe_is_not_a_loss() {
    let (database, pool) = Database::with_pool(1).await;
    // A busy machine may take longer than a second to respond.
    let is_kept = async || {
        let mut guard = probed_hastily(&pool, "leader", Duration::from_millis(100)).await;
        // Nobody watches, so the next use is late for a probe.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let conn = guard.connection().await.unwrap();
        let statement = conn.execute("SELECT pg_sleep(3)");
        assert!(timeout(Duration::from_millis(50), statement).await.is_err());
        let length = tokio::time::sleep(Duration::from_secs(2));
        let is_alive = guard.until_lost(length).await.is_ok();
        is_alive && guard.release().await.is_ok()
    };
    assert!(is_ever(is_kept).await);
    database.assert_nothing_leaked(&pool).await;
}

/// After a dropped `COPY`, sqlx waits for responses that never come, so a watcher would see nothing
/// more.
#[tokio::test]
async fn session_is_lost_after_a_dropped_copy_and_leaks_nothing() {
    let (database, pool) = Database::with_pool(1).await;
    for is_watched in [true, false] {
        let mut guard = acquire(&pool).await;
        {
            let copy = "COPY (SELECT generate_series(1, 3)) TO STDOUT";
            let conn = guard.connection().await.unwrap();
            let mut copy = conn.copy_out_raw(copy).await.unwrap();
            let first = futures_util::StreamExt::next(&mut copy).await;
            first.unwrap().unwrap();
        }
        if is_watched {
            timeout(HANG_TIMEOUT, guard.lost()).await.unwrap();
            assert!(guard.is_lost());
        }
        let released = timeout(HANG_TIMEOUT, guard.release()).await.unwrap();
        assert!(!is_watched || released.unwrap_err().is_lost());
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn body_is_dropped_before_the_loss_is_reported() {
    let (database, pool) = Database::with_pool(2).await;
    let guard = acquire(&pool).await;
    let inside = std::sync::Arc::new(());
    let captured = inside.clone();
    let mut run = pin!(guard.until_lost(async move {
        std::future::pending::<()>().await;
        drop(captured);
    }));
    let (lost, ()) = tokio::join!(run.as_mut(), database.terminate_lockers());
    assert!(lost.unwrap_err().is_lost());
    assert_eq!(
        std::sync::Arc::strong_count(&inside),
        1,
        "the body still holds what it took"
    );
}

#[tokio::test]
async fn lost_does_not_return_without_a_loss_at_any_interval() {
    let (database, pool) = Database::with_pool(1).await;
    for interval in [Duration::ZERO, Duration::from_millis(5), Duration::MAX] {
        let guard = probed(&pool, interval).await;
        assert_not_lost(&guard, 300).await;
        assert!(!guard.is_lost());
        // A dropped watch does not block the release.
        guard.release().await.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

/// A runtime whose thread is busy reads nothing meanwhile, also not the response to a probe.
#[tokio::test]
#[ignore = "fails: a response that has not been read counts as missing"]
async fn checks_without_an_await_between_them_are_no_loss() {
    let (_database, pool) = Database::with_pool(1).await;
    let interval = Duration::from_millis(100);
    let guard = probed_hastily(&pool, "leader", interval).await;
    let started = Instant::now();
    while started.elapsed() < interval + Duration::from_secs(2) {
        assert!(!guard.is_lost(), "after {:?}", started.elapsed());
        std::thread::sleep(interval);
    }
    guard.release().await.unwrap();
}

#[advisory(key = "job", scope = session, timeout = 1)]
async fn job(pool: &PgPool, work: impl Future<Output = ()>) -> Result<u32, Error> {
    work.await;
    Ok(7)
}

#[advisory(key = "job", scope = session, timeout = 0, side_effect = Skip)]
async fn skipping_job(pool: &PgPool) -> Result<Option<u32>, Error> {
    Ok(Some(7))
}

#[advisory(keys = ["job", "other"], scope = session, shared)]
async fn shared_job(pool: &PgPool, database: &Database) -> Result<(), Error> {
    let locks = database.advisory_locks().await;
    assert!(
        locks.len() == 2 && locks.iter().all(|lock| lock.mode == "ShareLock"),
        "{locks:?}"
    );
    Ok(())
}

#[tokio::test]
async fn attribute_runs_its_body_under_the_guard() {
    let (database, pool) = Database::with_pool(2).await;
    assert_eq!(job(&pool, database.wait_until_held(1)).await.unwrap(), 7);
    assert!(database.advisory_locks().await.is_empty());
    assert_eq!(skipping_job(&pool).await.unwrap(), Some(7));
    shared_job(&pool, &database).await.unwrap();

    let held = AdvisoryLock::new("job").acquire(&pool).await.unwrap();
    assert_eq!(skipping_job(&pool).await.unwrap(), None);
    assert!(job(&pool, async {}).await.unwrap_err().is_not_acquired());
    held.release().await.unwrap();

    let lost = job(&pool, async {
        database.terminate_lockers().await;
        std::future::pending::<()>().await;
    });
    assert!(lost.await.unwrap_err().is_lost());
    database.assert_nothing_leaked(&pool).await;
}

/// A child process that holds one key and waits for another until its standard input is closed.
/// Then it exits.
#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn holds_one_key_and_waits_for_another() {
    let Ok(url) = std::env::var("ADVISORY_TEST_CHILD") else {
        return;
    };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let pool = PgPool::connect(&url).await.unwrap();
    let _held = AdvisoryLock::new("held by the child")
        .acquire(&pool)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    let joined = AdvisoryLock::new("held by the parent").wait_forever();
    let owned = joined.clone();
    let other = another_pool(&pool);
    let waits = async {
        tokio::join!(
            joined.acquire_xact(&mut tx),
            owned.acquire(&pool),
            owned.begin(&other)
        )
    };
    let _ = waits.await;
}

/// Starts the child process, and waits until it holds one key and waits for the other.
async fn child(database: &Database) -> Child {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "session::loss::holds_one_key_and_waits_for_another",
        ])
        .env("ADVISORY_TEST_CHILD", database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    database.wait_until_waiting(3).await;
    database.wait_until_held(2).await;
    child
}

#[tokio::test]
async fn waiter_gets_the_lock_of_a_killed_process() {
    let (database, pool) = Database::with_pool(3).await;
    let parent = AdvisoryLock::new("held by the parent")
        .acquire(&pool)
        .await
        .unwrap();
    let lock = AdvisoryLock::new("held by the child").timeout(Duration::from_secs(20));
    let exits: fn(&mut Child) = |child| drop(child.stdin.take());
    let is_killed: fn(&mut Child) = |child| child.kill().unwrap();
    for end in [exits, is_killed] {
        let mut child = child(&database).await;
        let (guard, ()) = tokio::join!(lock.acquire(&pool), async {
            database.wait_until_waiting(4).await;
            end(&mut child);
        });
        child.wait().unwrap();
        guard.unwrap().release().await.unwrap();
        database
            .wait_until_locks("the parent's lock alone", |locks| locks.len() == 1)
            .await;
    }
    parent.release().await.unwrap();
}
