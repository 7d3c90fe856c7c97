//! A leader whose session is lost stops, and stands again.

use std::cell::Cell;

use advisory_core::{Error, Term};
use advisory_tests::{Database, Proxy};
use sqlx::{Executor as _, PgPool};

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
