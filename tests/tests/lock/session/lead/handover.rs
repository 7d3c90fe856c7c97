//! The leadership passes from one instance to another.

use std::cell::RefCell;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Term};
use advisory_tests::{Database, another_pool, is_ever};
use futures_util::future::{join_all, select_all};
use sqlx::PgPool;
use tokio::sync::mpsc;

use super::{Place, ends, lock, while_it_leads};

/// Two instances resign at once in eight terms. Whether they have led in turns.
async fn lead_in_turns(one: &Place, two: &Place) -> bool {
    let terms = Mutex::new(Vec::new());
    let instance = async |name: &'static str, place: &Place| {
        let lock = lock();
        let led = place.lead(&lock, async |term: Term| {
            let mut terms = terms.lock().unwrap();
            terms.push((term.number(), name));
            if terms.len() >= 8 {
                return Ok::<_, Error>(());
            }
            term.resign();
            Ok(())
        });
        led.await.unwrap();
    };
    ends(async {
        tokio::select! {
            () = instance("one", one) => {}
            () = instance("two", two) => {}
        }
    })
    .await;
    let terms = terms.into_inner().unwrap();
    assert!(terms.is_sorted_by(|a, b| a.0 < b.0), "{terms:?}");
    println!("{terms:?}");
    // The first terms may be of one instance: the other one may still open its connection.
    let last = &terms[2..];
    last.windows(2).all(|pair| pair[0].1 != pair[1].1)
}

#[tokio::test]
async fn two_instances_that_resign_lead_in_turns() {
    let (database, pool) = Database::with_pool(2).await;
    for (one, two) in Place::both(&pool)
        .into_iter()
        .zip(Place::both(&another_pool(&pool)))
    {
        // On a busy machine, the other one may not ask in time.
        assert!(is_ever(async || lead_in_turns(&one, &two).await).await);
        one.close().await;
        two.close().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn one_instance_that_resigns_leads_again() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        let numbers = RefCell::new(Vec::new());
        let lock = lock();
        let led = place.lead(&lock, async |term: Term| {
            let mut numbers = numbers.borrow_mut();
            numbers.push(term.number());
            if numbers.len() < 3 {
                term.resign();
            }
            Ok::<_, Error>(())
        });
        ends(led).await.unwrap();
        let numbers = numbers.into_inner();
        assert_eq!(numbers.len(), 3);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        place.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn an_error_is_returned_also_after_a_resignation() {
    let (database, pool) = Database::with_pool(2).await;
    let led = lock();
    let led = led.lead(&pool, async |term: Term| {
        term.resign();
        Err::<(), Error>(Error::NotInTransaction)
    });
    assert!(matches!(ends(led).await, Err(Error::NotInTransaction)));
    database.assert_nothing_leaked(&pool).await;
}

/// Five instances are shut down one after the other, with the default settings, and each is
/// followed by another one. The longest time without a leader.
async fn longest_hand_over(pool: &PgPool) -> Duration {
    let lock = AdvisoryLock::new("deploy");
    let (leads, mut led) = mpsc::unbounded_channel();
    let mut instances: Vec<_> = (0..5)
        .map(|index: usize| {
            let (lock, leads, pool) = (lock.clone(), leads.clone(), another_pool(pool));
            let task = tokio::spawn(async move {
                let led = lock.lead(&pool, async |_| -> Result<(), Error> {
                    let _ = leads.send(index);
                    std::future::pending().await
                });
                panic!("{:?}", led.await)
            });
            Some(task)
        })
        .collect();
    let mut longest = Duration::ZERO;
    for left in (0..5).rev() {
        let leader: usize = ends(led.recv()).await.unwrap();
        if left == 0 {
            break;
        }
        let started = Instant::now();
        let task = instances[leader].take().expect("each leads once");
        task.abort();
        let _ = task.await;
        let next = ends(led.recv()).await.unwrap();
        longest = longest.max(started.elapsed());
        leads.send(next).unwrap();
    }
    for task in instances.into_iter().flatten() {
        task.abort();
        let _ = task.await;
    }
    longest
}

#[tokio::test]
async fn five_instances_that_are_replaced_hand_over_in_under_a_second_each() {
    let (database, pool) = Database::with_pool(1).await;
    let is_in_time = async || {
        let longest = longest_hand_over(&pool).await;
        println!("the longest of four hand-overs took {longest:?}");
        longest < Duration::from_secs(1)
    };
    assert!(is_ever(is_in_time).await);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_lock_is_free_when_a_cancelled_leader_is_gone() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        while_it_leads(&place, &lock(), async |numbers| {
            numbers.recv().await.unwrap();
        })
        .await;
        // The release was sent when the future was dropped.
        database.wait_until_held(0).await;
        place.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_hundred_candidates_on_one_pool_leave_its_connections_to_others() {
    let (database, pool) = Database::with_pool(3).await;
    let guard = lock().acquire(&another_pool(&pool)).await.unwrap();
    let candidates = (0..100).map(|_| {
        let pool = pool.clone();
        Box::pin(async move {
            let led = lock().polling(Duration::from_millis(200));
            led.lead(&pool, async |_| Ok::<_, Error>(())).await
        })
    });
    let others = async {
        let others = (0..50).map(|_| sqlx::query("SELECT 1").execute(&pool));
        for done in join_all(others).await {
            done.unwrap();
        }
    };
    ends(async {
        tokio::select! {
            (led, ..) = select_all(candidates) => panic!("{led:?}"),
            () = others => {}
        }
    })
    .await;
    guard.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}
