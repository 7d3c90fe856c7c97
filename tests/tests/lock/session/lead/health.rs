//! A health check that fails ends the term, and another instance leads first.

use std::cell::Cell;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use advisory_core::{Error, Term};
use advisory_tests::{Database, another_pool};
use tokio::sync::mpsc;

use super::{Place, ends, lock};

const INTERVAL: Duration = Duration::from_millis(50);

/// One instance whose check does what `check` does leads until another instance does.
async fn assert_other_leads_first(check: impl AsyncFnOnce() -> bool + Clone) {
    let (database, pool) = Database::with_pool(2).await;
    for (place, other) in Place::both(&pool)
        .into_iter()
        .zip(Place::both(&another_pool(&pool)))
    {
        let (lock, terms) = (lock(), mpsc::unbounded_channel());
        let (leads, mut led) = terms;
        let unhealthy = place.lead(&lock, async |term: Term| {
            leads.send("unhealthy").unwrap();
            tokio::join!(term.while_healthy(check.clone(), INTERVAL), pending::<()>());
            Ok::<_, Error>(())
        });
        let healthy = async {
            assert_eq!(led.recv().await, Some("unhealthy"));
            let leads = leads.clone();
            let done = other.lead(&lock, async |term: Term| {
                leads.send("healthy").unwrap();
                let work = async { 7 };
                tokio::select! {
                    biased;
                    () = term.while_healthy(async || true, INTERVAL) => panic!("it is healthy"),
                    done = work => Ok::<_, Error>(done),
                }
            });
            assert_eq!(done.await.unwrap(), 7);
            // The other one may still open its connection when the first term ends.
            while led.recv().await != Some("healthy") {}
        };
        ends(async {
            tokio::select! {
                led = unhealthy => panic!("{led:?}"),
                () = healthy => {}
            }
        })
        .await;
        place.close().await;
        other.close().await;
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn a_check_that_fails_ends_the_term() {
    assert_other_leads_first(async || false).await;
}

#[tokio::test]
async fn a_check_that_fails_later_ends_the_term() {
    let is_healthy = AtomicBool::new(true);
    assert_other_leads_first(async || is_healthy.swap(false, Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_check_that_hangs_ends_the_term() {
    assert_other_leads_first(async || pending::<bool>().await).await;
}

#[tokio::test]
async fn a_check_in_a_task_of_its_own_drops_the_body() {
    let (database, pool) = Database::with_pool(2).await;
    for place in Place::both(&pool) {
        let (lock, terms) = (lock(), Cell::new(0));
        let led = place.lead(&lock, async |term: Term| {
            if terms.replace(1) == 1 {
                return Ok::<_, Error>(7);
            }
            tokio::spawn(async move { term.while_healthy(async || false, INTERVAL).await });
            pending().await
        });
        assert_eq!(ends(led).await.unwrap(), 7);
        place.close().await;
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_check_ends_with_its_term() {
    let (database, pool) = Database::with_pool(2).await;
    let (lock, term) = (lock(), std::sync::OnceLock::new());
    let led = lock.lead(&pool, async |of: Term| {
        let _ = term.set(of);
        Ok::<_, Error>(())
    });
    ends(led).await.unwrap();
    let term = term.get().unwrap();
    ends(term.lost()).await;
    ends(term.while_healthy(async || pending().await, Duration::MAX)).await;
    database.assert_nothing_leaked(&pool).await;
}
