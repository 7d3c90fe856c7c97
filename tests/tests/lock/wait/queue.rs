//! The queue of a process in front of its pool: a wait costs no connection, and a lock never takes
//! the connections that its own body needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, UnsupportedReason, advisory};
use advisory_tests::{Database, LockRow, abandon_a_transaction, by_depth, is_ever};
use advisory_verbs::{Refusal, Verb, unsupported};
use futures_util::future::join_all;
use sqlx::Executor as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The time in which the pool of these tests hands out a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(4);
/// A bound for what must not hang, on a busy machine too.
const LONG: Duration = Duration::from_mins(2);

async fn pool(database: &Database, max_connections: u32) -> PgPool {
    patient_pool(database, max_connections, ACQUIRE_TIMEOUT).await
}

async fn patient_pool(database: &Database, max_connections: u32, patience: Duration) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(patience)
        .connect_with(database.options());
    pool.await.unwrap()
}

async fn use_pool(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[advisory(key = "inside", tx)]
async fn inside(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[advisory(key = "outside")]
async fn outside(pool: &PgPool) -> Result<(), Error> {
    use_pool(pool).await
}

#[advisory(key = "session", scope = session)]
async fn in_session(pool: &PgPool) -> Result<(), Error> {
    use_pool(pool).await
}

#[advisory(key = "tenant({tenant})")]
async fn of_tenant(pool: &PgPool, tenant: usize) -> Result<(), Error> {
    use_pool(pool).await
}

#[advisory(key = "tenant({tenant})", scope = session, timeout = 0, side_effect = Skip)]
async fn nightly(pool: &PgPool, tenant: usize) -> Result<Option<()>, Error> {
    use_pool(pool).await.map(Some)
}

/// Runs many calls at once, of which all succeed; in short depth, a quarter of them.
async fn all_succeed<T: Send + 'static, F>(
    pool: &PgPool,
    calls: usize,
    call: impl Fn(PgPool, usize) -> F,
) where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..calls / by_depth(4, 1) {
        tasks.spawn(call(pool.clone(), number));
    }
    while let Some(done) = timeout(LONG, tasks.join_next()).await.unwrap() {
        done.unwrap().unwrap();
    }
}

#[tokio::test]
async fn more_calls_than_connections_all_succeed() {
    let database = Database::new().await;
    for connections in [2, 3, 5] {
        // On a busy machine, three hundred bodies on two connections take longer than four seconds.
        let pool = patient_pool(&database, connections, Duration::from_secs(20)).await;
        all_succeed(&pool, 1500, |pool, _| async move { inside(&pool).await }).await;
        all_succeed(&pool, 200, |pool, _| async move { outside(&pool).await }).await;
        all_succeed(&pool, 200, |pool, _| async move { in_session(&pool).await }).await;
        all_succeed(&pool, 300, |pool, tenant| async move {
            of_tenant(&pool, tenant).await
        })
        .await;
        all_succeed(&pool, 200, |pool, tenant| async move {
            nightly(&pool, tenant).await
        })
        .await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn a_thousand_waiters_leave_the_pool_to_others() {
    let database = Database::new().await;
    let (pool, rivals) = (pool(&database, 4).await, database.pool(5).await);
    let locks: Vec<_> = (1..=5).map(AdvisoryLock::new).collect();
    let held = join_all(locks.iter().map(|lock| lock.begin(&rivals))).await;
    let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
    let mut waiters = JoinSet::new();
    for number in 0..1000 {
        let (lock, pool) = (locks[number % 5].clone(), pool.clone());
        waiters.spawn(async move { Ok::<_, Error>(lock.begin(&pool).await?.commit().await?) });
    }
    // The first ones of some lines; one connection is left.
    database.wait_until_waiting(3).await;

    for _ in 0..20 {
        use_pool(&pool).await.unwrap();
    }
    for verb in Verb::all(Verb::is_on_pool) {
        assert!(
            verb.ask(&AdvisoryLock::new("free"), &pool).await.unwrap(),
            "{verb}"
        );
    }
    // The timeout fires although nobody in the line moves.
    let bounded = locks[0].clone().timeout(Duration::from_millis(300));
    let refused = bounded.begin(&pool).await.unwrap_err();
    assert!(refused.is_not_acquired(), "{refused:?}");

    drop(held);
    while let Some(done) = timeout(LONG, waiters.join_next()).await.unwrap() {
        done.unwrap().unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn two_processes_take_turns() {
    let database = Database::new().await;
    let pools = [pool(&database, 5).await, pool(&database, 5).await];
    let lock = AdvisoryLock::new("shared by two pools");
    let (holders, turns) = (
        Arc::new(AtomicI32::new(0)),
        [0, 1].map(|_| Arc::new(AtomicUsize::new(0))),
    );
    let mut tasks = JoinSet::new();
    for (pool, turns) in pools.iter().zip(&turns) {
        for _ in 0..30 {
            let (lock, pool) = (lock.clone(), pool.clone());
            let (holders, turns) = (Arc::clone(&holders), Arc::clone(turns));
            tasks.spawn(async move {
                loop {
                    let tx = lock.begin(&pool).await.unwrap();
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    sleep(Duration::from_millis(1)).await;
                    holders.fetch_sub(1, Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                    tx.commit().await.unwrap();
                }
            });
        }
    }
    let total = || {
        turns
            .iter()
            .map(|turns| turns.load(Ordering::SeqCst))
            .sum::<usize>()
    };
    while total() < 400 {
        assert!(tasks.try_join_next().is_none(), "a task has ended");
        sleep(Duration::from_millis(10)).await;
    }
    let fewest = turns.iter().map(|turns| turns.load(Ordering::SeqCst)).min();
    assert!(fewest.unwrap() * 4 >= total(), "{turns:?}");
    tasks.shutdown().await;
    for pool in &pools {
        database.assert_nothing_leaked(pool).await;
    }
}

#[tokio::test]
async fn shared_holders_of_one_process_hold_together() {
    let database = Database::new().await;
    let pool = pool(&database, 4).await;
    let lock = AdvisoryLock::new("shared").shared();
    let transactions = join_all((0..3).map(|_| lock.begin(&pool))).await;
    assert!(transactions.iter().all(Result::is_ok));
    database.wait_until_held(3).await;
}

#[tokio::test]
async fn a_dropped_waiter_leaves_the_line_and_its_turn_passes_on() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 3).await, database.pool(1).await);
    let lock = AdvisoryLock::new("dropped");
    let held = lock.begin(&rival).await.unwrap();
    let wait = || tokio::spawn(Verb::Begin.ask(&lock, &pool));
    let first = wait();
    database.wait_until_waiting(1).await;
    let [second, third] = [(); 2].map(|()| wait());
    second.abort();
    first.abort();
    held.commit().await.unwrap();
    timeout(LONG, third).await.unwrap().unwrap().unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_try_never_waits_for_a_turn() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 3).await, database.pool(1).await);
    let lock = AdvisoryLock::new("tried");
    let _held = lock.begin(&rival).await.unwrap();
    let waiter = tokio::spawn(Verb::Begin.ask(&lock, &pool));
    database.wait_until_waiting(1).await;
    assert!(lock.try_begin(&pool).await.unwrap().is_none());
    assert!(lock.try_acquire(&pool).await.unwrap().is_none());
    let now = lock.clone().timeout(Duration::ZERO);
    assert!(now.begin(&pool).await.unwrap_err().is_not_acquired());
    waiter.abort();
}

#[tokio::test]
async fn the_lock_timeout_of_the_server_bounds_the_wait_in_this_process() {
    let database = Database::new().await;
    let pool = database.pool_with(4, "lock_timeout", "1s").await;
    let rival = database.pool(1).await;
    // The pool's first lock.
    AdvisoryLock::new("first").begin(&pool).await.unwrap();
    let lock = AdvisoryLock::new("bounded");
    let _held = lock.begin(&rival).await.unwrap();
    let started = Instant::now();
    // One after the other, these would take twenty seconds and more.
    let refused = join_all((0..20).map(|_| lock.begin(&pool))).await;
    for error in refused.into_iter().map(Result::unwrap_err) {
        // On a busy machine, the first one may not have asked the server in this time.
        let has_not_asked = matches!(error, Error::Database(sqlx::Error::PoolTimedOut));
        assert!(has_not_asked || error.is_not_acquired(), "{error:?}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_pool_that_closes_ends_all_waits_at_once() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 3).await, database.pool(1).await);
    let lock = AdvisoryLock::new("closed");
    let held = lock.begin(&rival).await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..1000 {
        waiters.spawn(Verb::Begin.ask(&lock, &pool));
    }
    database.wait_until_waiting(1).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    let mut closed = 0;
    while closed < 999 {
        let ended = timeout(LONG, waiters.join_next()).await.unwrap().unwrap();
        let error = ended.unwrap().unwrap_err();
        assert!(
            matches!(&error, Error::Database(sqlx::Error::PoolClosed)),
            "{error:?}"
        );
        closed += 1;
    }
    // The one that has a connection waits on.
    held.commit().await.unwrap();
    timeout(LONG, waiters.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .unwrap();
    closing.await.unwrap();
}

#[tokio::test]
async fn an_exhausted_pool_ends_all_waits_together() {
    let database = Database::new().await;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(1))
        .connect_with(database.options())
        .await
        .unwrap();
    let _taken = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let lock = AdvisoryLock::new("exhausted");
    let started = Instant::now();
    let ended = join_all((0..1000).map(|_| lock.begin(&pool))).await;
    for ended in ended {
        let error = ended.unwrap_err();
        assert!(
            matches!(&error, Error::Database(sqlx::Error::PoolTimedOut)),
            "{error:?}"
        );
    }
    // One after the other, they would take a thousand seconds.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    // No wait in the line is taken for a lock that somebody holds.
    let bounded = lock.timeout(Duration::from_millis(200));
    let ended = join_all((0..10).map(|_| bounded.try_begin(&pool))).await;
    assert!(ended.iter().all(Result::is_err), "{ended:?}");
}

/// A pool whose sessions have a short `lock_timeout`, which nothing here has learnt yet.
async fn impatient_pool(database: &Database, connections: u32) -> PgPool {
    let options = database.options().options([("lock_timeout", "300ms")]);
    let pool = PgPoolOptions::new().max_connections(connections);
    pool.connect_with(options).await.unwrap()
}

#[tokio::test]
async fn the_lock_timeout_of_the_server_bounds_a_wait_behind_one_without_a_limit() {
    let database = Database::new().await;
    let rival = database.pool(2).await;
    let (one, two) = (AdvisoryLock::new("one"), AdvisoryLock::new("two"));
    let held = [one.begin(&rival).await, two.begin(&rival).await];
    // The other call stands behind the first one, or has no place beside it.
    for (connections, verb, other) in [(3, Verb::Begin, &one), (2, Verb::Acquire, &two)] {
        let pool = impatient_pool(&database, connections).await;
        let first = tokio::spawn(verb.ask(&one.clone().wait_forever(), &pool));
        database.wait_until_waiting(1).await;
        let ended = timeout(LONG, verb.ask(other, &pool)).await;
        let refused = ended.expect("the server's timeout").unwrap_err();
        assert!(refused.is_not_acquired(), "{verb}: {refused:?}");
        first.abort();
    }
    drop(held);
}

/// The server's timeout is that of its own queue.
#[tokio::test]
async fn the_lock_timeout_of_the_server_ends_no_poll() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let pool = impatient_pool(&database, 3).await;
    AdvisoryLock::new("first").begin(&pool).await.unwrap();
    let lock = AdvisoryLock::new("one");
    let held = lock.begin(&rival).await.unwrap();
    let polling = lock.polling(Duration::from_millis(20));
    let polls = join_all((0..3).map(|_| polling.transaction(&pool, async |_| Ok::<_, Error>(()))));
    let release = async {
        sleep(Duration::from_secs(1)).await;
        held.rollback().await.unwrap();
    };
    let (polls, ()) = tokio::join!(polls, release);
    assert!(polls.iter().all(Result::is_ok), "{polls:?}");
}

/// Other code has left the connection so on which a call asks whether it may wait for a place.
#[tokio::test]
async fn a_call_without_a_place_asks_on_an_aborted_connection_too() {
    let database = Database::new().await;
    let pool = pool(&database, 2).await;
    let guard = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    abandon_a_transaction(&pool, "BEGIN; SELECT 1 / 0").await;
    let two = AdvisoryLock::new("two");
    let waits = two.acquire(&pool);
    let release = async {
        sleep(ACQUIRE_TIMEOUT / 10).await;
        guard.release().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(waits, release);
    acquired.unwrap().release().await.unwrap();
}

/// The time in which the pool lends a connection is none of the wait for the lock.
#[tokio::test]
async fn a_slow_check_out_does_not_lengthen_the_waits_that_follow() {
    let database = Database::new().await;
    let rivals = database.pool(1).await;
    let lock = AdvisoryLock::new("one");
    let held = lock.begin(&rivals).await.unwrap();
    // A busy machine may take longer.
    let is_short = async || {
        let pool = database.pool_with(3, "lock_timeout", "200ms").await;
        let taken = join_all((0..3).map(|_| pool.acquire())).await;
        let late = async {
            sleep(Duration::from_secs(2)).await;
            drop(taken);
        };
        let (refused, ()) = tokio::join!(lock.begin(&pool), late);
        assert!(refused.unwrap_err().is_not_acquired());
        let started = Instant::now();
        let (one, two) = tokio::join!(lock.begin(&pool), lock.begin(&pool));
        assert!(one.is_err() && two.is_err());
        pool.close().await;
        started.elapsed() < Duration::from_millis(1500)
    };
    assert!(is_ever(is_short).await);
    held.rollback().await.unwrap();
}

/// Also the first wait, before the `lock_timeout` of the pool is known.
#[tokio::test]
async fn a_wait_without_a_limit_leaves_a_pool_of_one_to_others() {
    let database = Database::new().await;
    let rivals = database.pool(1).await;
    let lock = AdvisoryLock::new("one");
    for verb in [Verb::Begin, Verb::Acquire] {
        let held = lock.begin(&rivals).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.acquire_timeout(Duration::from_secs(20));
        let pool = pool.connect_with(database.options()).await.unwrap();
        // Other code has left it so; the question for the `lock_timeout` comes first.
        abandon_a_transaction(&pool, "BEGIN; SELECT 1 / 0").await;
        let waiting = tokio::spawn(verb.ask(&lock, &pool));
        database.wait_until_waiting(1).await;
        let served = pool.execute("SELECT 1").await;
        assert!(served.is_ok(), "{verb}: {served:?}");
        held.rollback().await.unwrap();
        assert!(waiting.await.unwrap().unwrap(), "{verb}");
    }
}

#[tokio::test]
async fn a_pool_of_one_cannot_serve_a_body_outside_the_lock() {
    let database = Database::new().await;
    let pool = pool(&database, 1).await;
    let error = outside(&pool).await.unwrap_err();
    assert_eq!(unsupported(&error), &UnsupportedReason::PoolOfOne);
    // Its lock takes no connection of the pool.
    in_session(&pool).await.unwrap();
    inside(&pool).await.unwrap();
    let guard = AdvisoryLock::new("guard").acquire(&pool).await.unwrap();
    guard.release().await.unwrap();
}

#[advisory(key = "outer({number})")]
async fn outer(pool: &PgPool, number: usize, all_began: &Barrier) -> Result<(), Error> {
    all_began.wait().await;
    let inner = AdvisoryLock::new("inner").acquire(pool).await?;
    inner.release().await
}

/// The bodies have taken all places, and each waits for another lock.
#[tokio::test]
async fn a_nested_call_needs_no_place() {
    let database = Database::new().await;
    let pool = pool(&database, 5).await;
    let all_began = Barrier::new(4);
    let outer = (0..4).map(|number| outer(&pool, number, &all_began));
    for ended in join_all(outer).await {
        ended.unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

/// On small pools, a wait gives its connection to others from time to time.
#[tokio::test]
async fn a_wait_without_a_limit_ends_with_the_lock_alone() {
    let database = Database::new().await;
    let rival = database.pool(1).await;
    let lock = AdvisoryLock::new("held for long").wait_forever();
    let verbs = Verb::all(|verb| verb.is_on_pool() && verb.refusal() == Refusal::Error);
    let held = lock.begin(&rival).await.unwrap();
    let mut waiters = JoinSet::new();
    for verb in verbs {
        for connections in 2..=4 {
            for lock in [
                lock.clone(),
                lock.clone().polling(Duration::from_millis(50)),
            ] {
                let pool = pool(&database, connections).await;
                waiters.spawn(async move { verb.ask(&lock, &pool).await });
            }
        }
    }
    let alone = pool(&database, 1).await;
    let lock_alone = lock.clone();
    waiters.spawn(async move { lock_alone.begin(&alone).await.map(|_| true) });
    sleep(Duration::from_secs(5)).await;
    assert!(waiters.try_join_next().is_none(), "a wait has ended");
    held.commit().await.unwrap();
    while let Some(asked) = timeout(LONG, waiters.join_next()).await.unwrap() {
        assert!(asked.unwrap().unwrap());
    }
}

/// The pool has no place left for a body. That is no reason to call a lock free, or a pool
/// exhausted.
#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_without_a_place() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 2).await, database.pool(1).await);
    let lock = AdvisoryLock::new("held elsewhere");
    let held = lock.begin(&rival).await.unwrap();
    let guard = AdvisoryLock::new("takes the place")
        .acquire(&pool)
        .await
        .unwrap();
    // Longer than the pool takes to hand out a connection.
    let limit = ACQUIRE_TIMEOUT + Duration::from_secs(1);
    let waits = [
        lock.clone().timeout(limit),
        lock.clone()
            .timeout(limit)
            .polling(Duration::from_millis(50)),
        lock.clone().timeout(limit).shared(),
    ];
    for refused in join_all(waits.iter().map(|lock| lock.acquire(&pool))).await {
        let error = refused.unwrap_err();
        assert!(error.is_not_acquired(), "{error:?}");
    }
    for lock in [lock.clone(), lock.clone().shared()] {
        assert!(lock.try_acquire(&pool).await.unwrap().is_none());
    }
    held.commit().await.unwrap();
    guard.release().await.unwrap();
    lock.acquire(&pool).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_body_takes_the_place_of_a_wait() {
    let database = Database::new().await;
    let pool = pool(&database, 5).await;
    let locks = ["a", "b"].map(AdvisoryLock::new);
    let held = join_all(locks.iter().map(|lock| lock.acquire(&pool))).await;
    let mut waiters = JoinSet::new();
    for name in ["a", "b"] {
        let pool = pool.clone();
        waiters.spawn(async move {
            AdvisoryLock::new(name)
                .acquire(&pool)
                .await?
                .release()
                .await
        });
    }
    database.wait_until_waiting(2).await;
    let free = AdvisoryLock::new("free").acquire(&pool).await.unwrap();
    let other = AdvisoryLock::new("free, too").try_acquire(&pool).await;
    other.unwrap().unwrap().release().await.unwrap();
    free.release().await.unwrap();
    for guard in held {
        guard.unwrap().release().await.unwrap();
    }
    while let Some(ended) = timeout(LONG, waiters.join_next()).await.unwrap() {
        ended.unwrap().unwrap();
    }
    database.assert_nothing_leaked(&pool).await;
}

/// The line keeps its order, and no other call fails with the one whose session has ended.
#[tokio::test]
async fn a_lost_session_ends_one_wait() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 4).await, database.pool(1).await);
    let lock = AdvisoryLock::new("line");
    let held = lock.begin(&rival).await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..300 {
        waiters.spawn(Verb::Begin.ask(&lock, &pool));
    }
    database.wait_until_waiting(1).await;
    let waits = |lock: &LockRow| !lock.granted;
    database.signal("pg_terminate_backend", waits).await;
    let ended = timeout(LONG, waiters.join_next()).await.unwrap().unwrap();
    ended.unwrap().unwrap_err();
    database.wait_until_waiting(1).await;
    held.commit().await.unwrap();
    while let Some(ended) = timeout(LONG, waiters.join_next()).await.unwrap() {
        ended.unwrap().unwrap();
    }
}

/// A call that waits does not stand behind one that pauses.
#[tokio::test]
async fn a_wait_is_granted_before_the_next_poll_of_another_call() {
    let database = Database::new().await;
    let (pool, rival) = (pool(&database, 4).await, database.pool(1).await);
    let lock = AdvisoryLock::new("polled");
    let held = lock.begin(&rival).await.unwrap();
    let seldom = lock.clone().polling(Duration::from_hours(1));
    let polls = tokio::spawn(Verb::Begin.ask(&seldom, &pool));
    let waits = tokio::spawn(Verb::Begin.ask(&lock, &pool));
    database.wait_until_waiting(1).await;
    held.commit().await.unwrap();
    timeout(LONG, waits).await.unwrap().unwrap().unwrap();
    polls.abort();
}
