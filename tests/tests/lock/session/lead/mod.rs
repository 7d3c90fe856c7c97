//! `lead`: a body that runs on one instance at a time, and what can happen to its session.

mod drop_order;
mod error;
mod handover;
mod health;
mod loss;
mod observer;
mod outage;
mod process;

use std::cell::Cell;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession, Term};
use advisory_tests::Database;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);

/// What a future returns that must not hang.
async fn ends<T>(future: impl Future<Output = T>) -> T {
    let ended = timeout(HANG_TIMEOUT, future).await;
    ended.unwrap_or_else(|_| panic!("still pending after {HANG_TIMEOUT:?}"))
}

/// A lock whose candidates ask often, and whose losses are noticed soon.
fn lock() -> AdvisoryLock {
    AdvisoryLock::new("leader")
        .polling(Duration::from_millis(20))
        .keepalive_interval(Duration::from_millis(200))
        .response_timeout(Duration::from_secs(1))
}

/// Where an instance holds its lock.
#[derive(Clone)]
enum Place {
    Pool(PgPool),
    LockSession(LockSession),
}

impl Place {
    fn both(pool: &PgPool) -> [Self; 2] {
        [
            Self::Pool(pool.clone()),
            Self::LockSession(LockSession::new(pool)),
        ]
    }

    async fn lead<T, E: From<Error>>(
        &self,
        lock: &AdvisoryLock,
        body: impl AsyncFnOnce(Term) -> Result<T, E> + Clone,
    ) -> Result<T, E> {
        match self {
            Self::Pool(pool) => Box::pin(lock.lead(pool, body)).await,
            Self::LockSession(locks) => Box::pin(lock.lead(locks, body)).await,
        }
    }

    async fn close(&self) {
        if let Self::LockSession(locks) = self {
            locks.close().await;
        }
    }
}

/// An instance that reports the number of each of its terms, and leads until it is dropped.
async fn report(place: &Place, lock: &AdvisoryLock, terms: &mpsc::UnboundedSender<i64>) -> Error {
    let led = place.lead(lock, async |term: Term| {
        let _ = terms.send(term.number());
        std::future::pending::<Result<(), Error>>().await
    });
    led.await.expect_err("the body never returns")
}

/// Runs `story` while an instance leads, and passes it the number of each term of this instance.
async fn while_it_leads(
    place: &Place,
    lock: &AdvisoryLock,
    story: impl AsyncFnOnce(&mut mpsc::UnboundedReceiver<i64>),
) {
    let (terms, mut numbers) = mpsc::unbounded_channel();
    ends(async {
        tokio::select! {
            error = report(place, lock, &terms) => panic!("{error}"),
            () = story(&mut numbers) => {}
        }
    })
    .await;
}

#[tokio::test]
async fn it_returns_what_the_body_returns() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        let (lock, number) = (lock(), Cell::new(0));
        let led = place.lead(&lock, async |term: Term| {
            assert!(
                term.number() > number.replace(term.number()),
                "numbers grow"
            );
            database.wait_until_held(1).await;
            Ok::<_, Error>(7)
        });
        assert_eq!(ends(led).await.unwrap(), 7);
        let failed = place.lead(&lock, async |_| Err::<(), Error>(Error::NotInTransaction));
        let error = ends(failed).await.unwrap_err();
        assert!(matches!(error, Error::NotInTransaction), "{error}");
        assert_eq!(database.advisory_locks().await, [], "it is free at once");
        place.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn one_of_many_leads_and_the_next_one_when_it_returns() {
    let (database, pool) = Database::with_pool(5).await;
    let (leads, mut led) = mpsc::unbounded_channel();
    let now = std::sync::atomic::AtomicUsize::new(0);
    let instances = (0..8).map(|index| {
        let (pool, leads, now) = (pool.clone(), leads.clone(), &now);
        async move {
            let lock = lock();
            lock.lead(&pool, async |_| {
                use std::sync::atomic::Ordering::SeqCst;
                assert_eq!(now.fetch_add(1, SeqCst), 0, "two lead at once");
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, SeqCst);
                leads.send(index).unwrap();
                Ok::<_, Error>(())
            })
            .await
        }
    });
    ends(futures_util::future::try_join_all(instances))
        .await
        .unwrap();
    let mut all: Vec<usize> = std::iter::from_fn(|| led.try_recv().ok()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
    database.assert_nothing_leaked(&pool).await;
}
