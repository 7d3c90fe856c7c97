//! A future that is dropped at any await leaks nothing.
//!
//! Each verb is polled n times and dropped, for every n until it completes: with the lock free,
//! with the lock held, and with the lock released while the verb waits.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, Key, advisory};
use advisory_tests::Database;
use futures_util::future::{Either, select};
use sqlx::{PgPool, PgTransaction};

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls a future at most `polls` times, then drops it. Returns `true` if it has completed.
async fn drop_after(polls: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        let polled = future.as_mut().poll(cx).map(|()| true);
        if polled.is_pending() && left == 0 {
            Poll::Ready(false)
        } else {
            polled
        }
    })
    .await
}

struct Case<'a> {
    database: &'a Database,
    pool: &'a PgPool,
    /// The pool of the rival, which holds the locks.
    rival: &'a PgPool,
    lock: AdvisoryLock,
}

impl Case<'_> {
    async fn drop_at_every_poll(&self, verb: &str, make: impl Fn() -> Work<'static>) {
        let free = self.while_free(&make).await;
        let held = self.while_held(&make).await;
        let granted = self.while_released(&make).await;
        println!(
            "{verb:<40} dropped after 0..={free} polls free, 0..={held} held, 0..={granted} granted"
        );
        assert!(
            free > 1,
            "{verb} never waits for the server: the test sees nothing"
        );
    }

    async fn while_free(&self, make: &impl Fn() -> Work<'static>) -> usize {
        for polls in 0.. {
            let done = drop_after(polls, make()).await;
            self.database.assert_nothing_leaked(self.pool).await;
            if done {
                return polls;
            }
        }
        unreachable!()
    }

    async fn while_held(&self, make: &impl Fn() -> Work<'static>) -> usize {
        let held = self.lock.begin(self.rival).await.unwrap();
        for polls in 0.. {
            // A future that waits in the queue is not woken again. It is dropped there, and this is
            // the last poll.
            let finished = {
                let work = pin!(drop_after(polls, make()));
                let waits = pin!(self.database.wait_until_waiting(1));
                match select(work, waits).await {
                    Either::Left((done, _)) => done,
                    Either::Right(_) => true,
                }
            };
            self.assert_only_the_rival_holds().await;
            if finished {
                held.rollback().await.unwrap();
                self.database.assert_nothing_leaked(self.pool).await;
                return polls;
            }
        }
        unreachable!()
    }

    async fn while_released(&self, make: &impl Fn() -> Work<'static>) -> usize {
        for polls in 0.. {
            let held = self.lock.begin(self.rival).await.unwrap();
            let release = async {
                let expected =
                    |locks: &[advisory_tests::LockRow]| locks.iter().any(|lock| !lock.granted);
                let waiting = self.database.wait_until_locks("a waiter", expected);
                // Not every verb waits, and a verb that is dropped early never does.
                let _ = tokio::time::timeout(Duration::from_millis(300), waiting).await;
                held.rollback().await.unwrap();
            };
            let (done, ()) = tokio::join!(drop_after(polls, make()), release);
            self.database.assert_nothing_leaked(self.pool).await;
            if done {
                return polls;
            }
        }
        unreachable!()
    }

    /// Asserts that within two seconds only the rival holds locks.
    async fn assert_only_the_rival_holds(&self) {
        let keys = self.lock.keys().len();
        let only = self
            .database
            .wait_until_locks("the rival's locks alone", |locks| {
                locks.len() == keys && locks.iter().all(|lock| lock.granted)
            });
        let settled = tokio::time::timeout(Duration::from_secs(2), async {
            only.await;
            let ours = |backends: &[advisory_tests::BackendRow]| {
                backends
                    .iter()
                    .filter(|backend| backend.in_transaction)
                    .count()
                    == 1
            };
            self.database
                .wait_until_backends("the rival's transaction alone", ours)
                .await;
            let mut all = Vec::new();
            for _ in 0..self.pool.options().get_max_connections() {
                all.push(self.pool.acquire().await.unwrap());
            }
        });
        let leaked = settled.await.is_err();
        assert!(
            !leaked,
            "leaked while the lock was held
{}",
            self.database.dump().await
        );
    }
}

/// Runs a case for one key and for several keys, without and with a timeout.
async fn for_every_lock(verb: &str, make: impl Fn(AdvisoryLock, PgPool) -> Work<'static>) {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let rival = database.pool(1).await;
    let several = AdvisoryLock::all([Key::from(1), Key::from(2), Key::from((1, 2))]);
    let timeout = Duration::from_mins(1);
    for (kind, lock) in [
        ("", AdvisoryLock::new("one")),
        (", timeout", AdvisoryLock::new("one").timeout(timeout)),
        (", several", several.clone()),
        (", several, timeout", several.timeout(timeout)),
    ] {
        let case = Case {
            database: &database,
            pool: &pool,
            rival: &rival,
            lock: lock.clone(),
        };
        case.drop_at_every_poll(&format!("{verb}{kind}"), || {
            make(lock.clone(), pool.clone())
        })
        .await;
    }
}

#[tokio::test]
async fn begin_leaks_nothing() {
    for_every_lock("begin", |lock, pool| {
        Box::pin(async move { lock.begin(&pool).await.unwrap().commit().await.unwrap() })
    })
    .await;
}

#[tokio::test]
async fn try_begin_leaks_nothing() {
    for_every_lock("try_begin", |lock, pool| {
        Box::pin(async move {
            if let Some(tx) = lock.try_begin(&pool).await.unwrap() {
                tx.commit().await.unwrap();
            }
        })
    })
    .await;
}

#[tokio::test]
async fn acquire_and_release_leak_nothing() {
    for_every_lock("acquire, release", |lock, pool| {
        Box::pin(async move {
            let mut guard = lock.acquire(&pool).await.unwrap();
            guard.connection().await.unwrap();
            guard.release().await.unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn try_acquire_and_until_lost_leak_nothing() {
    for_every_lock("try_acquire, until_lost", |lock, pool| {
        Box::pin(async move {
            let Some(guard) = lock.try_acquire(&pool).await.unwrap() else {
                return;
            };
            let body = async { pool.acquire().await.map(drop) };
            guard.until_lost(body).await.unwrap().unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn polling_leaks_nothing() {
    for_every_lock("begin, polling", |lock, pool| {
        Box::pin(async move {
            let lock = lock.polling(Duration::from_millis(20));
            let limited = lock.timeout(Duration::from_millis(40));
            if let Some(tx) = limited.try_begin(&pool).await.unwrap() {
                tx.commit().await.unwrap();
            }
            if let Some(guard) = limited.try_acquire(&pool).await.unwrap() {
                guard.release().await.unwrap();
            }
        })
    })
    .await;
}

#[tokio::test]
async fn isolation_leaks_nothing() {
    for_every_lock("begin, serializable", |lock, pool| {
        Box::pin(async move {
            let lock = lock.isolation(Isolation::Serializable);
            lock.begin(&pool).await.unwrap().commit().await.unwrap();
        })
    })
    .await;
    for_every_lock("try_begin, repeatable read", |lock, pool| {
        Box::pin(async move {
            let lock = lock.isolation(Isolation::RepeatableRead);
            if let Some(tx) = lock.try_begin(&pool).await.unwrap() {
                tx.commit().await.unwrap();
            }
        })
    })
    .await;
}

/// Begins a transaction without a lock. sqlx's `begin` leaves the transaction open on the server if
/// it is dropped before it returns; a lock on no keys does not.
async fn begin(pool: &PgPool) -> PgTransaction<'static> {
    AdvisoryLock::all([0_i64; 0]).begin(pool).await.unwrap()
}

/// With `cancel_via`, a dropped wait in the caller's transaction leaves the queue.
#[tokio::test]
async fn acquire_xact_leaks_nothing() {
    for_every_lock("acquire_xact, cancel_via", |lock, pool| {
        Box::pin(async move {
            let lock = lock.cancel_via(&pool);
            let mut tx = begin(&pool).await;
            lock.acquire_xact(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        })
    })
    .await;
    for_every_lock("try_acquire_xact, cancel_via", |lock, pool| {
        Box::pin(async move {
            let lock = lock.cancel_via(&pool);
            let mut tx = begin(&pool).await;
            lock.try_acquire_xact(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
        })
    })
    .await;
}

#[advisory(key = lock, scope = session)]
async fn in_session(pool: &PgPool, lock: AdvisoryLock) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[tokio::test]
async fn attribute_in_session_scope_leaks_nothing() {
    for_every_lock("#[advisory(scope = session)]", |lock, pool| {
        Box::pin(async move { in_session(&pool, lock).await.unwrap() })
    })
    .await;
}

#[tokio::test]
async fn functions_leak_nothing_in_a_transaction() {
    for_every_lock("try_xact_lock, xact_lock_shared", |lock, pool| {
        Box::pin(async move {
            let mut tx = begin(&pool).await;
            for key in lock.keys() {
                advisory_core::try_xact_lock(&mut tx, *key).await.unwrap();
                advisory_core::try_xact_lock_shared(&mut tx, *key)
                    .await
                    .unwrap();
            }
            advisory_core::xact_lock(&mut tx, "another").await.unwrap();
            advisory_core::xact_lock_shared(&mut tx, "another")
                .await
                .unwrap();
            tx.commit().await.unwrap();
        })
    })
    .await;
}

/// The session functions are not cancel safe. Their documentation requires that the connection is
/// closed, and then nothing remains.
#[tokio::test]
async fn session_functions_leak_nothing_on_a_closed_connection() {
    for_every_lock("lock, try_lock, unlock, unlock_all", |lock, pool| {
        Box::pin(async move {
            let mut conn = pool.acquire().await.unwrap();
            conn.close_on_drop();
            for key in lock.keys() {
                if advisory_core::try_lock(&mut conn, *key).await.unwrap() {
                    advisory_core::unlock(&mut conn, *key).await.unwrap();
                }
                if advisory_core::try_lock_shared(&mut conn, *key)
                    .await
                    .unwrap()
                {
                    advisory_core::unlock_shared(&mut conn, *key).await.unwrap();
                }
            }
            advisory_core::lock(&mut conn, "another").await.unwrap();
            advisory_core::lock_shared(&mut conn, "another")
                .await
                .unwrap();
            advisory_core::unlock_all(&mut conn).await.unwrap();
        })
    })
    .await;
}

/// A body that runs a statement. If it is dropped there, the statement is running.
async fn body(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(&mut **tx).await?;
    Ok(())
}

#[tokio::test]
async fn transaction_leaks_nothing() {
    for_every_lock("transaction", |lock, pool| {
        Box::pin(async move { lock.transaction(&pool, body).await.unwrap() })
    })
    .await;
}

#[tokio::test]
async fn try_transaction_leaks_nothing() {
    for_every_lock("try_transaction", |lock, pool| {
        Box::pin(async move { lock.try_transaction(&pool, body).await.map(drop).unwrap() })
    })
    .await;
}

#[advisory(key = lock, tx)]
async fn annotated(pool: &PgPool, lock: AdvisoryLock) -> Result<(), Error> {
    body(tx).await
}

#[tokio::test]
async fn attribute_on_a_pool_leaks_nothing() {
    for_every_lock("#[advisory] on a pool", |lock, pool| {
        Box::pin(async move { annotated(&pool, lock).await.unwrap() })
    })
    .await;
}

#[advisory(key = lock, timeout = 60, side_effect = Skip)]
async fn skipping(pool: &PgPool, lock: AdvisoryLock) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}

#[tokio::test]
async fn attribute_that_skips_leaks_nothing() {
    for_every_lock("#[advisory] that skips", |lock, pool| {
        Box::pin(async move { skipping(&pool, lock).await.unwrap() })
    })
    .await;
}

#[advisory(key = lock)]
async fn on_connection(conn: &mut sqlx::PgConnection, lock: AdvisoryLock) -> Result<(), Error> {
    sqlx::query("SELECT 1").execute(conn).await?;
    Ok(())
}

/// The one exception: the wait is on the caller's connection, and remains until it is granted or
/// times out.
#[tokio::test]
async fn attribute_on_a_connection_leaks_nothing() {
    let database = Database::new().await;
    let pool = database.pool(2).await;
    let rival = database.pool(1).await;
    let lock = AdvisoryLock::new("one");
    let case = Case {
        database: &database,
        pool: &pool,
        rival: &rival,
        lock: lock.clone(),
    };
    let make = || -> Work<'static> {
        let (pool, lock) = (pool.clone(), lock.clone());
        Box::pin(async move {
            let mut conn = pool.acquire().await.unwrap();
            on_connection(&mut conn, lock).await.unwrap();
        })
    };
    let (free, granted) = (
        case.while_free(&make).await,
        case.while_released(&make).await,
    );
    println!(
        "#[advisory] on a connection: dropped after 0..={free} polls free, 0..={granted} granted"
    );
}

/// No background task continues the wait, so the connection leaves the pool when the wait is
/// dropped.
#[tokio::test]
async fn dropped_wait_frees_its_connection_at_once() {
    let database = Database::new().await;
    let (pool, rival) = (database.pool(1).await, database.pool(1).await);
    let lock = AdvisoryLock::new("one");
    let held = lock.begin(&rival).await.unwrap();
    let begin: fn(AdvisoryLock, PgPool) -> Work<'static> =
        |lock, pool| Box::pin(async move { drop(lock.begin(&pool).await) });
    let acquire: fn(AdvisoryLock, PgPool) -> Work<'static> =
        |lock, pool| Box::pin(async move { drop(lock.acquire(&pool).await) });
    let annotate: fn(AdvisoryLock, PgPool) -> Work<'static> =
        |lock, pool| Box::pin(async move { drop(annotated(&pool, lock).await) });
    for wait in [begin, acquire, annotate] {
        let mut wait = wait(lock.clone(), pool.clone());
        {
            let waits = pin!(database.wait_until_waiting(1));
            assert!(matches!(
                select(wait.as_mut(), waits).await,
                Either::Right(_)
            ));
        }
        assert_eq!(pool.size(), 1);
        drop(wait);
        assert_eq!(pool.size(), 0, "the connection is closed without an await");
        database.wait_until_waiting(0).await;
    }
    held.rollback().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

/// A body that is dropped during a long statement releases its lock before the statement ends.
#[tokio::test]
async fn body_dropped_in_a_long_statement_releases_its_lock() {
    let database = Database::new().await;
    let pool = database.pool(1).await;
    let lock = AdvisoryLock::new("long");
    let long = lock.transaction(&pool, async |tx| {
        sqlx::query("SELECT pg_sleep(600)")
            .execute(&mut **tx)
            .await
            .map_err(Error::from)
    });
    let sleeps = database.wait_until_backends("a sleeping body", |backends| {
        backends
            .iter()
            .any(|backend| backend.wait_event.as_deref() == Some("PgSleep"))
    });
    assert!(matches!(
        select(pin!(long), pin!(sleeps)).await,
        Either::Right(_)
    ));
    database.assert_nothing_leaked(&pool).await;
}

/// A runtime that shuts down releases the locks of its tasks.
#[test]
fn runtime_that_ends_releases_its_locks() {
    let watch = tokio::runtime::Runtime::new().unwrap();
    let database = watch.block_on(Database::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = runtime.block_on(database.pool(2));
    let lock = AdvisoryLock::new("runtime");

    let (holder, waiter) = (lock.clone(), lock);
    let (held, waiting) = (pool.clone(), pool.clone());
    runtime.spawn(async move {
        let body = async |_: &mut PgTransaction<'_>| {
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        };
        holder.transaction(&held, body).await
    });
    watch.block_on(database.wait_until_held(1));
    runtime.spawn(async move { waiter.begin(&waiting).await.map(drop) });
    watch.block_on(database.wait_until_waiting(1));

    runtime.shutdown_background();
    watch.block_on(database.wait_until_locks("no lock", <[_]>::is_empty));
    drop(pool);
}

/// A future may be dropped outside a runtime.
#[test]
fn wait_dropped_outside_a_runtime_leaves_the_queue() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::new());
    let pool = runtime.block_on(database.pool(2));
    let lock = AdvisoryLock::new("outside");
    let held = runtime.block_on(lock.begin(&pool)).unwrap();

    let mut waiter = Box::pin(lock.begin(&pool));
    runtime.block_on(async {
        let waits = pin!(database.wait_until_waiting(1));
        assert!(matches!(
            select(waiter.as_mut(), waits).await,
            Either::Right(_)
        ));
    });
    drop(waiter);
    runtime.block_on(database.wait_until_waiting(0));
    runtime.block_on(held.rollback()).unwrap();
    runtime.block_on(database.assert_nothing_leaked(&pool));
}
