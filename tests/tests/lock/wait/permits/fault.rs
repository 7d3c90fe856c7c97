//! Nothing is left of a wait for a permit, however it ends, and no permit is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_tests::{Database, LockRow, by_depth, drop_when};
use advisory_verbs::Verb;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;

use super::{NAME, lock, take, wait_until_queueing};

/// Waits that the server's queue for the turnstile sees.
fn waiting() -> impl Iterator<Item = Verb> {
    Verb::all(Verb::is_of_lock)
}

#[tokio::test]
async fn a_dropped_wait_leaves_the_queue_and_takes_no_permit() {
    let (database, pool) = Database::with_pool(4).await;
    let rivals = database.pool(4).await;
    for verb in waiting() {
        for queueing in [1, 2] {
            let held = take(2, 2, &rivals).await;
            // A deadline for the waits that a drop does not end.
            let bounded = lock(2).timeout(Duration::from_secs(2));
            let first = (queueing == 2).then(|| {
                let (lock, rivals) = (lock(2), rivals.clone());
                tokio::spawn(async move { lock.begin(&rivals).await })
            });
            if first.is_some() {
                wait_until_queueing(&database, 1).await;
            }
            let waits = verb.ask(&bounded, &pool);
            drop_when(wait_until_queueing(&database, queueing), waits).await;
            drop(held);
            if let Some(first) = first {
                first.await.unwrap().unwrap().rollback().await.unwrap();
            }
            database.assert_nothing_leaked(&pool).await;
            assert!(verb.ask(&bounded, &pool).await.unwrap(), "{verb}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_wait_of_the_caller_leaves_a_usable_transaction() {
    let (database, pool) = Database::with_pool(4).await;
    let rivals = database.pool(2).await;
    let held = take(2, 2, &rivals).await;
    let mut tx = pool.begin().await.unwrap();
    tx.execute("SET LOCAL lock_timeout = '7s'").await.unwrap();
    let short = lock(2).timeout(Duration::from_millis(50));
    let error = short.acquire_xact(&mut tx).await.unwrap_err();
    assert!(error.is_not_acquired(), "{error}");
    let setting: String = sqlx::query_scalar("SHOW lock_timeout")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(setting, "7s");
    assert_eq!(database.advisory_locks().await.len(), 2);
    drop(held);
    database.wait_until_held(0).await;
    short.acquire_xact(&mut tx).await.unwrap();
    let setting: String = sqlx::query_scalar("SHOW lock_timeout")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(setting, "7s");
    tx.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// The permits that this session has, whatever its transactions do.
const OWN: &str = "SELECT count(*) FROM pg_locks \
     WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()";

/// The cancel arrives while the session goes from the front of the queue to its slot.
#[tokio::test]
async fn a_wait_that_is_cancelled_as_it_ends_leaves_no_permit_in_its_session() {
    let database = Database::new().await;
    let turnstile = AdvisoryLock::new(NAME).keys()[0].slot(0);
    let (mut rival, mut conn) = (database.connection().await, database.connection().await);
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let (mut granted, mut cancelled) = (0, 0);
    for _ in 0..by_depth(300, 3_000) {
        advisory_core::lock(&mut rival, turnstile).await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let lock = lock(2);
        let waits = lock.acquire_xact(&mut tx);
        let ends = async {
            wait_until_queueing(&database, 2).await;
            // The work between is a fraction of a millisecond.
            let end = sqlx::query(
                "SELECT pg_advisory_unlock($1), \
                 (SELECT count(*) FROM generate_series(1, $2)), pg_cancel_backend($3)",
            );
            let Key::BigInt(turnstile) = turnstile else {
                unreachable!("BUG: a name is one number");
            };
            let end = end.bind(turnstile).bind(fastrand::i32(0..10_000)).bind(pid);
            end.execute(&mut rival).await.unwrap();
        };
        let (waited, ()) = tokio::join!(waits, ends);
        match waited {
            Ok(()) => granted += 1,
            Err(Error::Database(_)) => cancelled += 1,
            Err(error) => panic!("{error:?}"),
        }
        tx.rollback().await.unwrap();
        let held: i64 = loop {
            // A late cancel can end this one.
            if let Ok(held) = sqlx::query_scalar(OWN).fetch_one(&mut conn).await {
                break held;
            }
        };
        assert_eq!(held, 0, "after {granted} grants and {cancelled} cancels");
    }
    println!("{granted} granted, {cancelled} cancelled");
    assert!(granted > 0 && cancelled > 0, "the cancels have no effect");
}

#[tokio::test]
async fn the_servers_own_lock_timeout_bounds_the_wait() {
    let database = Database::new().await;
    let rivals = database.pool(3).await;
    let pool = database.pool_with(10, "lock_timeout", "60ms").await;
    for verb in
        Verb::all(|verb| verb.is_of_lock() && verb.refusal() == advisory_verbs::Refusal::Error)
    {
        let held = take(2, 2, &rivals).await;
        verb.assert_refused(&lock(2), &pool).await;
        drop(held);
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn cancelled_and_terminated_heads_let_the_next_one_in() {
    for how in ["pg_cancel_backend", "pg_terminate_backend"] {
        let database = Database::new().await;
        let rivals = database.pool(3).await;
        let held = take(2, 2, &rivals).await;
        let mut waits = Vec::new();
        for number in 1..=2 {
            let (lock, pool) = (lock(2), database.pool(1).await);
            waits.push(tokio::spawn(async move { lock.begin(&pool).await }));
            wait_until_queueing(&database, number).await;
        }
        let (classid, objid, _) = AdvisoryLock::new(NAME).keys()[0].slot(0).to_pg_locks();
        let is_head =
            |lock: &LockRow| lock.granted && (lock.classid, lock.objid) == (classid, objid);
        database.signal(how, is_head).await;
        let second = waits.pop().unwrap();
        let error = waits.pop().unwrap().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Database(_)), "{error:?}");
        wait_until_queueing(&database, 1).await;
        drop(held);
        second.await.unwrap().unwrap().rollback().await.unwrap();
        database.assert_nothing_leaked(&rivals).await;
    }
}

#[tokio::test]
async fn a_wait_on_a_lock_session_goes_on_after_the_session_was_lost() {
    let (database, pool) = Database::with_pool(4).await;
    let held = take(2, 2, &pool).await;
    let locks = advisory_core::LockSession::new(&pool);
    let waits = tokio::spawn({
        let (locks, lock) = (locks.clone(), lock(2).timeout(Duration::from_mins(1)));
        async move { lock.acquire(&locks).await }
    });
    for _ in 0..3 {
        wait_until_queueing(&database, 1).await;
        let (classid, objid, _) = AdvisoryLock::new(NAME).keys()[0].slot(0).to_pg_locks();
        let first = database
            .advisory_locks()
            .await
            .into_iter()
            .find(|lock| (lock.classid, lock.objid) == (classid, objid));
        let pid = first.unwrap().pid;
        database
            .execute(format!("SELECT pg_terminate_backend({pid})"))
            .await;
        let gone = |locks: &[LockRow]| locks.iter().all(|lock| lock.pid != pid);
        database
            .wait_until_locks("the session has ended", gone)
            .await;
    }
    wait_until_queueing(&database, 1).await;
    drop(held);
    waits.await.unwrap().unwrap().release().await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn other_locks_of_the_session_survive_a_wait() {
    let database = Database::new().await;
    let rivals = database.pool(3).await;
    let held = take(2, 2, &rivals).await;
    let mut conn = database.connection().await;
    // The session has a slot already, and keeps it whatever happens to the wait.
    let slot = AdvisoryLock::new(NAME).keys()[0].slot(3);
    advisory_core::lock(&mut conn, slot).await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    let short = lock(2).timeout(Duration::from_millis(30));
    let error = short.acquire_xact(&mut tx).await.unwrap_err();
    assert!(error.is_not_acquired(), "{error:?}");
    lock(3).acquire_xact(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(database.advisory_locks().await.len(), 3);
    assert!(advisory_core::unlock(&mut conn, slot).await.unwrap());
    assert_eq!(database.advisory_locks().await.len(), 2);
    drop(held);
}

/// What a holder asserts: this session has a slot, and there are no more holders than permits.
const INSIDE: &str = "SELECT count(*) FILTER (WHERE pid = pg_backend_pid()) >= 1 \
     AND count(DISTINCT objid) FILTER (WHERE objid::int8 = ANY($1)) <= 3 FROM pg_locks \
     WHERE locktype = 'advisory' AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Asks until the end, and counts what is granted.
async fn ask_until(is_over: Arc<AtomicBool>, granted: Arc<AtomicU32>, pool: sqlx::PgPool) {
    let verbs: Vec<_> = waiting().collect();
    while !is_over.load(Ordering::Relaxed) {
        let verb = *fastrand::choice(&verbs).unwrap();
        let lock = lock(3).timeout(Duration::from_millis(fastrand::u64(..400)));
        let asked = verb.run::<Error>(&lock, &pool, |held| {
            Box::pin(async move {
                let Some(conn) = held else {
                    return Ok(());
                };
                let slots = (1..=3).map(|number| AdvisoryLock::new(NAME).keys()[0].slot(number));
                let slots: Vec<_> = slots.map(|slot| i64::from(slot.to_pg_locks().1)).collect();
                let inside = sqlx::query_scalar(INSIDE).bind(slots);
                let is_right: bool = inside.fetch_one(conn).await?;
                assert!(is_right);
                Ok(())
            })
        });
        // A terminated session is an error, of whatever statement notices it.
        let is_granted = matches!(asked.await, Ok(true));
        granted.fetch_add(is_granted.into(), Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_and_waiters_that_are_killed_lose_no_permit() {
    let database = Database::new().await;
    let pools = [database.pool(12).await, database.pool(12).await];
    let end = Instant::now() + Duration::from_secs(by_depth(2, 60));
    let (is_over, granted) = (Arc::default(), Arc::<AtomicU32>::default());
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let (is_over, granted) = (Arc::clone(&is_over), Arc::clone(&granted));
        tasks.spawn(ask_until(is_over, granted, pools[task % 2].clone()));
    }
    let mut killed = 0;
    let mut conn = database.connection().await;
    // A busy machine needs longer to see enough.
    while Instant::now() < end || killed <= 10 || granted.load(Ordering::Relaxed) <= 100 {
        let locks = database.advisory_locks().await;
        if let Some(lock) = fastrand::choice(&locks) {
            let kill = sqlx::query("SELECT pg_terminate_backend($1)").bind(lock.pid);
            kill.execute(&mut conn).await.unwrap();
            killed += 1;
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..40))).await;
    }
    is_over.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    println!("{granted:?} granted, {killed} killed");
    for pool in &pools {
        database.assert_nothing_leaked(pool).await;
    }
    let held = take(3, 3, &pools[0]).await;
    assert!(lock(3).try_begin(&pools[1]).await.unwrap().is_none());
    drop(held);
    database.assert_nothing_leaked(&pools[0]).await;
}
