//! Every verb with a transaction locks the right key.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation};
use advisory_tests::{Pooling, by_depth};
use advisory_verbs::{Held, Verb, outcome};
use sqlx::PgPool;
use tokio::task::JoinSet;

use super::fixture::{Cache, Fixture, Tally, in_time};
use super::section::{CheckedSections, KEYS, nth_key};

const CLIENTS: u32 = 6;
const BACKENDS: u32 = 2;

/// The verbs whose lock ends with a transaction.
fn verbs() -> impl Iterator<Item = Verb> {
    Verb::all(Verb::is_in_transaction)
}

/// A verb, its lock, and when the future is dropped.
#[derive(Clone, Debug)]
struct Plan {
    verb: Verb,
    lock: AdvisoryLock,
    drop_after: Option<Duration>,
}

impl Plan {
    fn random(verb: Verb, n: usize) -> Self {
        let several = [n, n + 1, n + 5].map(nth_key);
        let mut lock = match fastrand::u8(..3) {
            0 if verb.is_of_lock() => AdvisoryLock::all(several),
            _ => AdvisoryLock::new(nth_key(n)),
        };
        lock = match fastrand::u8(..5) {
            0 => lock.timeout(Duration::ZERO),
            1 => lock.timeout(Duration::from_millis(fastrand::u64(1..20))),
            2 => lock.timeout(Duration::from_mins(1)),
            3 => lock.wait_forever(),
            _ => lock,
        };
        if fastrand::u8(..5) == 0 {
            lock = lock.polling(Duration::from_millis(2));
        }
        if verb.takes_isolation() && fastrand::u8(..4) == 0 {
            lock = lock.isolation(Isolation::RepeatableRead);
        }
        let limit = Duration::from_micros(fastrand::u64(..15_000));
        let drop_after = (fastrand::u8(..5) == 0).then_some(limit);
        Self {
            verb,
            lock,
            drop_after,
        }
    }
}

async fn body(
    sections: &CheckedSections,
    lock: &AdvisoryLock,
    held: Held<'_>,
) -> Result<(), Error> {
    if let Some(conn) = held {
        return sections.check(lock, conn).await;
    }
    sections.check_beside(lock).await;
    Ok(())
}

async fn client(number: u32, pool: PgPool, sections: Arc<CheckedSections>, tally: Arc<Tally>) {
    for round in 0..by_depth(KEYS / 2, KEYS) {
        for verb in verbs() {
            // The keys of all clients are close to each other, so that clients contend.
            let plan = Plan::random(verb, round + number as usize % 3);
            let (sections, lock) = (sections.clone(), plan.lock.clone());
            let running = plan.verb.run(&plan.lock, &pool, move |held| {
                Box::pin(async move { body(&sections, &lock, held).await })
            });
            let outcome = outcome(running, plan.drop_after, &plan).await;
            tally.count(format!("{outcome:<13} {verb}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_locks_the_right_key() {
    for cache in [Cache::Default, Cache::Off] {
        let Some(fixture) = Fixture::new(Pooling::Transaction, BACKENDS).await else {
            return;
        };
        let pool = fixture.pool(cache, CLIENTS).await;
        let sections = Arc::new(CheckedSections::new(fixture));
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(client(
                number,
                pool.clone(),
                sections.clone(),
                tally.clone(),
            ));
        }
        in_time(&sections.fixture.database, clients.join_all()).await;
        sections.fixture.database.assert_nothing_leaked(&pool).await;

        println!("{cache:?}:\n{tally}");
        assert!(tally.sum("acquired") >= 500, "the test covers too little");
        for verb in verbs() {
            let seen = tally.sum(&format!("{:<13} {verb}", "acquired"));
            assert!(
                seen > 0,
                "{verb} was never acquired: the test covers too little"
            );
        }
        assert!(tally.sum("dropped") > 0 && tally.sum("not acquired") > 0);
    }
}
