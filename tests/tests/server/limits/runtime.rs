//! A runtime that ends while its tasks hold locks or wait for them.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{BackendRow, Database, LockRow, another_pool};
use advisory_verbs::Verb;
use sqlx::{Executor as _, PgPool};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const KINDS: [fn() -> Builder; 2] = [Builder::new_current_thread, Builder::new_multi_thread];
const ENDS: [fn(Runtime); 3] = [drop, Runtime::shutdown_background, |runtime| {
    runtime.shutdown_timeout(Duration::from_millis(100));
}];

const SLEEP: &str = "SELECT pg_sleep(600)";

/// Every kind of runtime with every kind of shutdown.
fn runtimes() -> impl Iterator<Item = (Runtime, fn(Runtime))> {
    KINDS.into_iter().flat_map(|kind| {
        ENDS.map(|end| {
            let runtime = kind().enable_all().build().unwrap();
            (runtime, end)
        })
    })
}

/// Runs the tasks of `spawn` until `wait` returns, and then ends the runtime. The pool outlives it.
fn run_until(
    (runtime, end): (Runtime, fn(Runtime)),
    pool: impl Future<Output = PgPool> + Send,
    spawn: impl FnOnce(&PgPool) + Send,
    wait: impl FnOnce(),
) -> PgPool {
    let (stop, stopped) = oneshot::channel::<()>();
    thread::scope(|scope| {
        let thread_of_runtime = scope.spawn(|| {
            let pool = runtime.block_on(async {
                let pool = pool.await;
                spawn(&pool);
                drop(stopped.await);
                pool
            });
            end(runtime);
            pool
        });
        wait();
        drop(stop);
        thread_of_runtime.join().unwrap()
    })
}

/// Spawns holders whose bodies never end, two of them in a statement; and waiters with every verb
/// except PostgreSQL's own functions, whose dropped wait remains in the queue.
fn spawn_holders_and_waiters(pool: &PgPool) {
    for verb in Verb::ALL {
        let lock = AdvisoryLock::new(verb.name());
        tokio::spawn(verb.hold(&lock, pool, std::future::pending()));
    }
    for verb in Verb::all(Verb::is_of_lock) {
        // Of one pool, only one would wait on the server.
        let pool = another_pool(pool);
        let lock = AdvisoryLock::new("one").wait_forever();
        tokio::spawn(verb.ask(&lock, &pool));
    }
    let (transaction, session) = (pool.clone(), pool.clone());
    tokio::spawn(async move {
        let lock = AdvisoryLock::new("busy transaction");
        let body = lock.transaction(&transaction, async |tx| tx.execute(SLEEP).await.map(drop));
        body.await
    });
    tokio::spawn(async move {
        let lock = AdvisoryLock::new("busy session");
        let mut guard = lock.acquire(&session).await?;
        guard.connection().await?.execute(SLEEP).await?;
        Ok::<_, Error>(())
    });
}

#[test]
fn no_lock_or_wait_remains_after_a_runtime_has_ended() {
    let watching = Runtime::new().unwrap();
    let database = watching.block_on(Database::new());
    let rivals = watching.block_on(database.pool(1));
    for thread_of_runtime in runtimes() {
        let held = watching
            .block_on(AdvisoryLock::new("one").begin(&rivals))
            .unwrap();
        let wait = || {
            watching.block_on(async {
                database
                    .wait_until_waiting(Verb::all(Verb::is_of_lock).count())
                    .await;
                database.wait_until_held(Verb::ALL.len() + 3).await;
                let sleeping = |backends: &[BackendRow]| {
                    let events = backends.iter().map(|backend| backend.wait_event.as_deref());
                    events.filter(|event| *event == Some("PgSleep")).count() == 2
                };
                database.wait_until_backends("two sleepers", sleeping).await;
            });
        };
        let pool = run_until(
            thread_of_runtime,
            database.pool(50),
            spawn_holders_and_waiters,
            wait,
        );
        watching.block_on(async {
            let alone = |locks: &[LockRow]| matches!(locks, [LockRow { granted: true, .. }]);
            let settled = database.wait_until_locks("the rival's lock alone", alone);
            settled.await;
            held.rollback().await.unwrap();
            database.assert_nothing_leaked(&rivals).await;
        });
        drop(pool);
    }
}

/// Spawns tasks that take and release locks continuously.
fn spawn_traffic(pool: &PgPool, round: &Sender<()>) {
    for verb in Verb::ALL {
        let (pool, round) = (pool.clone(), round.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let lock = AdvisoryLock::new(n % 3);
                let _ = verb.ask(&lock, &pool).await;
                // The receiver may have been dropped.
                let _ = round.send(());
            }
        });
    }
}

/// The runtime ends at an arbitrary point of each verb.
#[test]
fn runtime_that_ends_under_load_leaves_nothing() {
    let watching = Runtime::new().unwrap();
    let database = watching.block_on(Database::new());
    let fresh = watching.block_on(database.pool(1));
    for _ in 0..2 {
        for thread_of_runtime in runtimes() {
            let (round, rounds) = channel();
            let spawn = |pool: &PgPool| spawn_traffic(pool, &round);
            let wait = || rounds.iter().take(200).for_each(drop);
            let pool = run_until(thread_of_runtime, database.pool(10), spawn, wait);
            watching.block_on(database.assert_nothing_leaked(&fresh));
            drop(pool);
        }
    }
}
