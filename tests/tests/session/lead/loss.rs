//! A leader whose session is lost stops, and stands again.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Term};
use advisory_tests::{Cut, Database, Proxy, another_pool};
use sqlx::{Executor as _, PgPool};
use tokio::sync::mpsc;

use super::{Place, ends, lock, while_it_leads};

#[tokio::test]
async fn a_leader_whose_session_is_terminated_leads_again_with_a_greater_number() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        while_it_leads(&place, &lock(), async |numbers| {
            let mut last = 0;
            for _ in 0..5 {
                let number = numbers.recv().await.unwrap();
                assert!(number > last, "{number} after {last}");
                last = number;
                database.terminate_lockers().await;
            }
        })
        .await;
        place.close().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn a_leader_that_resigns_and_is_lost_meanwhile_stands_again() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        let (lock, terms) = (lock(), Cell::new(0));
        let led = place.lead(&lock, async |term: Term| {
            terms.set(terms.get() + 1);
            if terms.get() == 1 {
                term.resign();
                database.terminate_lockers().await;
                std::future::pending::<()>().await;
            }
            Ok::<_, Error>(terms.get())
        });
        assert_eq!(ends(led).await.unwrap(), 2);
        place.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

const FENCE: &str = "CREATE TABLE work (fence bigint NOT NULL); INSERT INTO work VALUES (0)";

/// Writes with a fencing token. Whether the table has accepted the write.
async fn write(pool: &PgPool, number: i64) -> bool {
    let update = sqlx::query("UPDATE work SET fence = $1 WHERE fence <= $1").bind(number);
    update.execute(pool).await.unwrap().rows_affected() == 1
}

#[tokio::test]
async fn a_leader_whose_network_goes_silent_stops_while_another_one_leads() {
    let database = Database::new().await;
    let direct = database.pool(2).await;
    direct.execute(FENCE).await.unwrap();
    let proxy = Proxy::start(&database).await;
    for (cut_off, other) in Place::both(&proxy.pool(2).await)
        .into_iter()
        .zip(Place::both(&direct))
    {
        let lock = lock();
        while_it_leads(&cut_off, &lock, async |numbers| {
            let first = numbers.recv().await.unwrap();
            assert!(write(&direct, first).await);
            proxy.set_silent(true);
            // The server still has the silent session; an administrator or a keepalive ends it.
            database.terminate_lockers().await;
            let second = other.lead(&lock, async |term: Term| Ok::<_, Error>(term.number()));
            let second = second.await.unwrap();
            assert!(second > first);
            assert!(write(&direct, second).await);
            assert!(!write(&direct, first).await, "the older term is fenced off");
            proxy.set_silent(false);
            let third = numbers.recv().await.unwrap();
            assert!(third > second, "it stands again after the silence");
        })
        .await;
        cut_off.close().await;
        other.close().await;
    }
    database.assert_nothing_leaked(&direct).await;
}

/// When a body began and was dropped.
struct Span<'a> {
    began: Instant,
    spans: &'a Mutex<Vec<(Instant, Instant)>>,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        self.spans
            .lock()
            .unwrap()
            .push((self.began, Instant::now()));
    }
}

/// A leader that fails over `losses` times, between three instances. The longest overlap of two
/// terms.
async fn longest_overlap(losses: usize, lose: impl AsyncFn(), pools: &[PgPool]) -> Duration {
    let spans = Mutex::new(Vec::new());
    let (leads, mut led) = mpsc::unbounded_channel();
    let instance = async |pool: &PgPool| {
        let lock = lock();
        let led = lock.lead(pool, async |_| -> Result<(), Error> {
            let began = Instant::now();
            let _span = Span {
                began,
                spans: &spans,
            };
            leads.send(()).unwrap();
            std::future::pending().await
        });
        Box::pin(led).await.unwrap_err()
    };
    let fail_over = async {
        for _ in 0..losses {
            led.recv().await.unwrap();
            lose().await;
        }
        led.recv().await.unwrap();
    };
    ends(async {
        tokio::select! {
            error = instance(&pools[0]) => panic!("{error}"),
            error = instance(&pools[1]) => panic!("{error}"),
            error = instance(&pools[2]) => panic!("{error}"),
            () = fail_over => {}
        }
    })
    .await;
    let mut spans = spans.into_inner().unwrap();
    spans.sort_unstable();
    let overlaps = spans
        .windows(2)
        .map(|pair| pair[0].1.saturating_duration_since(pair[1].0));
    overlaps.max().unwrap_or_default()
}

#[tokio::test]
async fn terms_do_not_overlap_when_sessions_are_terminated() {
    let (database, pool) = Database::with_pool(2).await;
    let pools = [pool.clone(), another_pool(&pool), another_pool(&pool)];
    let lose = async || {
        let holder = database.advisory_locks().await;
        for lock in holder.iter().filter(|lock| lock.granted) {
            let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(lock.pid);
            let mut conn = database.connection().await;
            terminate.execute(&mut conn).await.unwrap();
        }
    };
    let overlap = Box::pin(longest_overlap(20, lose, &pools)).await;
    println!("the longest overlap of 20 failovers was {overlap:?}");
    // The bound is the notice of a closed connection, and what a busy machine adds.
    assert!(overlap < Duration::from_secs(1), "{overlap:?}");
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn terms_overlap_at_most_until_a_silent_network_is_noticed() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let pools = [
        proxy.pool(2).await,
        proxy.pool(2).await,
        proxy.pool(2).await,
    ];
    let lose = async || {
        proxy.cut(Cut::Silence).await;
        database.terminate_lockers().await;
    };
    let overlap = Box::pin(longest_overlap(3, lose, &pools)).await;
    println!("the longest overlap of 3 silent networks was {overlap:?}");
    // A keepalive interval, a response timeout, and what a busy machine adds.
    assert!(overlap < Duration::from_millis(1200 + 2000), "{overlap:?}");
    proxy.set_silent(false);
    drop(pools);
    database.wait_until_held(0).await;
}

#[tokio::test]
async fn a_term_is_told_of_its_loss_in_tasks_that_the_body_has_spawned() {
    let (database, pool) = Database::with_pool(2).await;
    let lock = AdvisoryLock::new("leader").polling(Duration::from_millis(20));
    let (told, mut tells) = mpsc::unbounded_channel();
    let (begun, mut begins) = mpsc::unbounded_channel();
    let led = lock.lead(&pool, async |term: Term| -> Result<(), Error> {
        let (told, lost) = (told.clone(), term.lost());
        tokio::spawn(async move {
            lost.await;
            told.send(term.number()).unwrap();
        });
        begun.send(()).unwrap();
        std::future::pending().await
    });
    ends(async {
        tokio::select! {
            led = led => panic!("{led:?}"),
            () = async {
                begins.recv().await.unwrap();
                database.terminate_lockers().await;
                tells.recv().await.unwrap();
            } => {}
        }
    })
    .await;
    database.assert_nothing_leaked(&pool).await;
}

/// A task that the closure has spawned hears of it, whatever the task of the leader does.
#[tokio::test]
async fn a_term_is_over_with_its_session_also_while_nobody_polls_the_leader() {
    let (database, pool) = Database::with_pool(4).await;
    for place in Place::both(&pool) {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let lock = lock();
        let mut led = std::pin::pin!(place.lead(&lock, async |term: Term| {
            begun.send(tokio::spawn(term.lost())).unwrap();
            std::future::pending::<Result<(), Error>>().await
        }));
        let over = tokio::select! {
            led = &mut led => panic!("{led:?}"),
            over = begins.recv() => over.unwrap(),
        };
        database.terminate_lockers().await;
        ends(over).await.unwrap();
    }
}
