//! The body is dropped before the lock is released, and a dropped `lead` leaves nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use advisory_core::{Error, Term};
use advisory_tests::{Database, another_pool, by_depth, drop_after};
use futures_util::FutureExt as _;
use sqlx::{ConnectOptions as _, PgPool};

use super::{Place, ends, lock};

/// Looks, when it is dropped, whether its lock is still held.
struct Witness {
    database: Arc<Database>,
    seen: Arc<AtomicUsize>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let database = Arc::clone(&self.database);
        let look = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut conn = database.options().connect().await.unwrap();
                let held = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database \
                     WHERE locktype = 'advisory' AND granted AND datname = current_database()";
                let held: i64 = sqlx::query_scalar(held).fetch_one(&mut conn).await.unwrap();
                held
            })
        });
        assert_eq!(look.join().unwrap(), 1, "the lock was free before the body");
        self.seen.fetch_add(1, Ordering::SeqCst);
    }
}

/// How a term ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Returned,
    Failed,
    Unhealthy,
    Panicked,
    Dropped,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_is_dropped_before_the_lock_is_released() {
    let database = Arc::new(Database::new().await);
    let pool = database.pool(3).await;
    for ending in [
        Ending::Returned,
        Ending::Failed,
        Ending::Unhealthy,
        Ending::Panicked,
        Ending::Dropped,
    ] {
        for place in Place::both(&pool) {
            let seen = Arc::new(AtomicUsize::new(0));
            let lock = lock();
            let terms = AtomicUsize::new(0);
            let led = place.lead(&lock, async |term: Term| {
                let _witness = Witness {
                    database: Arc::clone(&database),
                    seen: Arc::clone(&seen),
                };
                let is_first = terms.fetch_add(1, Ordering::SeqCst) == 0;
                match ending {
                    Ending::Returned => {}
                    Ending::Failed => return Err(Error::NotInTransaction),
                    Ending::Unhealthy if !is_first => {}
                    Ending::Unhealthy => {
                        let interval = Duration::from_millis(1);
                        term.while_healthy(async || false, interval).await;
                        std::future::pending::<()>().await;
                    }
                    Ending::Panicked => panic!("meant"),
                    Ending::Dropped => std::future::pending::<()>().await,
                }
                Ok(())
            });
            let waits = async {
                while terms.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            match ending {
                Ending::Dropped => ends(advisory_tests::drop_when(waits, led)).await,
                Ending::Panicked => {
                    let panicked = ends(AssertUnwindSafe(led).catch_unwind()).await;
                    assert!(panicked.is_err());
                }
                Ending::Failed => drop(ends(led).await.unwrap_err()),
                Ending::Returned | Ending::Unhealthy => ends(led).await.unwrap(),
            }
            let expected = if ending == Ending::Unhealthy { 2 } else { 1 };
            assert_eq!(seen.load(Ordering::SeqCst), expected, "{ending:?}");
            database.wait_until_held(0).await;
            place.close().await;
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

async fn drop_at_each_poll(database: &Database, place: &Place, pool: &PgPool) {
    for polls in (0..).step_by(by_depth(3, 1)) {
        let lock = lock();
        let led = place.lead(&lock, async |term: Term| {
            tokio::task::yield_now().await;
            // The second term ends the call.
            if polls % 2 == 0 && term.number() % 2 == 0 {
                term.resign();
            }
            Ok::<_, Error>(())
        });
        let is_over = ends(drop_after(polls, led)).await.is_some();
        database.assert_nothing_leaked(pool).await;
        if is_over {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_await_leaves_nothing() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        drop_at_each_poll(&database, &place, &pool).await;
        place.close().await;
    }
}

#[tokio::test]
async fn a_candidate_that_is_dropped_leaves_nothing_and_the_leader_leads_on() {
    let (database, pool) = Database::with_pool(2).await;
    let other = another_pool(&pool);
    let (leader, candidate) = (lock(), lock());
    let leads = Place::Pool(pool.clone());
    for place in Place::both(&other) {
        let stands = place.lead(&candidate, async |_| -> Result<(), Error> {
            panic!("there is a leader")
        });
        let (entered, dropped) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let led = leads.lead(&leader, async |_| {
            entered.notify_one();
            dropped.notified().await;
            Ok::<_, Error>(())
        });
        let candidate = async {
            entered.notified().await;
            // It asks several times meanwhile.
            let stood = tokio::time::timeout(Duration::from_millis(100), stands).await;
            assert!(stood.is_err());
            place.close().await;
            dropped.notify_one();
        };
        let (led, ()) = ends(async { tokio::join!(Box::pin(led), Box::pin(candidate)) }).await;
        led.unwrap();
        database.assert_nothing_leaked(&other).await;
    }
    database.assert_nothing_leaked(&pool).await;
}
