//! Every verb with a transaction locks the right key.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Isolation, advisory};
use advisory_tests::Pooling;
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fixture::{Cache, Fixture, Tally, begin, in_time};
use crate::section::{KEYS, Sections, nth_key};

const CLIENTS: u32 = 6;
const BACKENDS: u32 = 2;

const VERBS: [&str; 11] = [
    "acquire_xact",
    "try_acquire_xact",
    "begin",
    "try_begin",
    "transaction",
    "try_transaction",
    "attribute on a pool",
    "attribute that binds tx",
    "attribute that skips",
    "attribute on a transaction",
    "attribute on a connection",
];

/// A verb, its lock, and when the future is dropped.
#[derive(Clone, Debug)]
struct Plan {
    verb: &'static str,
    lock: AdvisoryLock,
    /// The timeout of the lock; `Duration::MAX` if none is set.
    timeout: Duration,
    drop_after: Option<Duration>,
}

impl Plan {
    fn random(verb: &'static str, n: usize) -> Self {
        let several = [n, n + 1, n + 5].map(nth_key);
        let mut lock = match fastrand::u8(..3) {
            0 => AdvisoryLock::all(several),
            _ => AdvisoryLock::new(nth_key(n)),
        };
        let (timed, timeout) = match fastrand::u8(..5) {
            0 => (true, Duration::ZERO),
            1 => (true, Duration::from_millis(fastrand::u64(1..20))),
            2 => (true, Duration::from_mins(1)),
            3 => (true, Duration::MAX),
            _ => (false, Duration::MAX),
        };
        if timed {
            lock = lock.timeout(timeout);
        }
        if fastrand::u8(..5) == 0 {
            lock = lock.polling(Duration::from_millis(2));
        }
        // The verbs that join a transaction or a connection of the caller's refuse an isolation
        // level.
        let joins = matches!(
            verb,
            "acquire_xact"
                | "try_acquire_xact"
                | "attribute on a transaction"
                | "attribute on a connection"
        );
        if !joins && fastrand::u8(..4) == 0 {
            lock = lock.isolation(Isolation::RepeatableRead);
        }
        let limit = Duration::from_micros(fastrand::u64(..15_000));
        let drop_after = (fastrand::u8(..5) == 0).then_some(limit);
        Self {
            verb,
            lock,
            timeout,
            drop_after,
        }
    }
}

#[advisory(key = &plan.lock)]
async fn beside(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<(), Error> {
    sections.check_beside(&plan.lock).await;
    Ok(())
}

#[advisory(key = &plan.lock, tx)]
async fn binding(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<(), Error> {
    sections.check(&plan.lock, tx).await
}

#[advisory(key = &plan.lock, tx, timeout = plan.timeout, side_effect = Skip)]
async fn skipping(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<Option<()>, Error> {
    sections.check(&plan.lock, tx).await.map(Some)
}

#[advisory(key = &plan.lock)]
async fn joining(
    tx: &mut PgTransaction<'_>,
    sections: &Sections,
    plan: &Plan,
) -> Result<(), Error> {
    sections.check(&plan.lock, tx).await
}

#[advisory(key = &plan.lock)]
async fn on_connection(
    conn: &mut PgConnection,
    sections: &Sections,
    plan: &Plan,
) -> Result<(), Error> {
    sections.check(&plan.lock, conn).await
}

/// Returns `true` if the lock was acquired.
async fn run(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<bool, Error> {
    match plan.verb {
        "begin" | "try_begin" | "acquire_xact" | "try_acquire_xact" => {
            let Some(mut tx) = open(pool, plan).await? else {
                return Ok(false);
            };
            sections.check(&plan.lock, &mut tx).await?;
            if fastrand::bool() {
                tx.commit().await?;
            }
            Ok(true)
        }
        _ => around_a_body(pool, sections, plan).await,
    }
}

/// Begins a transaction that holds the lock.
async fn open(pool: &PgPool, plan: &Plan) -> Result<Option<PgTransaction<'static>>, Error> {
    let lock = &plan.lock;
    match plan.verb {
        "begin" => return lock.begin(pool).await.map(Some),
        "try_begin" => return lock.try_begin(pool).await,
        _ => {}
    }
    let mut tx = begin(pool).await?;
    if plan.verb == "acquire_xact" {
        lock.acquire_xact(&mut tx).await?;
    } else if !lock.try_acquire_xact(&mut tx).await? {
        return Ok(None);
    }
    Ok(Some(tx))
}

async fn around_a_body(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<bool, Error> {
    let lock = &plan.lock;
    let body = async |tx: &mut PgTransaction<'_>| sections.check(lock, tx).await;
    match plan.verb {
        "transaction" => lock.transaction(pool, body).await?,
        "try_transaction" => return Ok(lock.try_transaction(pool, body).await?.is_some()),
        "attribute on a pool" => beside(pool, sections, plan).await?,
        "attribute that binds tx" => binding(pool, sections, plan).await?,
        "attribute that skips" => return Ok(skipping(pool, sections, plan).await?.is_some()),
        "attribute on a connection" => {
            on_connection(&mut *pool.acquire().await?, sections, plan).await?;
        }
        _ => {
            let mut tx = begin(pool).await?;
            joining(&mut tx, sections, plan).await?;
            tx.commit().await?;
        }
    }
    Ok(true)
}

async fn client(number: u32, pool: PgPool, sections: Arc<Sections>, tally: Arc<Tally>) {
    for round in 0..KEYS {
        for verb in VERBS {
            // The keys of all clients are close to each other, so that clients contend.
            let plan = Plan::random(verb, round + number as usize % 3);
            let running = run(&pool, &sections, &plan);
            let outcome = match plan.drop_after {
                Some(limit) => timeout(limit, running).await.ok(),
                None => Some(running.await),
            };
            let outcome = match outcome {
                None => "dropped",
                Some(Ok(true)) => "acquired",
                Some(Ok(false)) => "not acquired",
                Some(Err(error)) if error.is_not_acquired() => "not acquired",
                // The wait for a connection is part of the wait.
                Some(Err(Error::Database(sqlx::Error::PoolTimedOut))) => "no connection",
                Some(Err(error)) => panic!("{plan:?}: {error:?}"),
            };
            tally.count(format!("{outcome:<13} {verb}"));
        }
    }
}

async fn assert_right_key(cache: Cache) {
    let Some(fixture) = Fixture::new(Pooling::Transaction, BACKENDS).await else {
        return;
    };
    let pool = fixture.pool(cache, CLIENTS).await;
    let sections = Arc::new(Sections::new(fixture));
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
    assert!(tally.sum("acquired") >= 1000, "the test covers too little");
    for verb in VERBS {
        let seen = tally.sum(&format!("{:<13} {verb}", "acquired"));
        assert!(
            seen > 0,
            "{verb} was never acquired: the test covers too little"
        );
    }
    assert!(tally.sum("dropped") > 0 && tally.sum("not acquired") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_locks_the_right_key() {
    assert_right_key(Cache::Default).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_locks_the_right_key_without_a_statement_cache() {
    assert_right_key(Cache::Off).await;
}
