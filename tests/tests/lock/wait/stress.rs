//! Mutual exclusion under load: many tasks, few keys, every verb and random drops. There are never
//! two holders, or more than permits, and nothing remains.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key};
use advisory_tests::{Database, by_depth};
use advisory_verbs::{Held, Refusal, Sections, Verb, outcome};
use sqlx::{Executor as _, PgPool};
use tokio::time::sleep;

const TASKS: usize = 200;
const KEYS: i64 = 20;
/// The keys after these have several permits.
const SEMAPHORES: i64 = 3;
const PERMITS: u32 = 3;
const CONNECTIONS: u32 = 40;

/// What a task does next.
#[derive(Clone, Debug)]
struct Plan {
    verb: Verb,
    lock: AdvisoryLock,
    work: Duration,
    drop_after: Option<Duration>,
}

impl Plan {
    fn random() -> Self {
        let verb = fastrand::choice(Verb::ALL).unwrap();
        let lock = Self::random_lock(verb);
        // Hundreds of tasks on a busy machine make the server slow.
        let mut lock = lock.response_timeout(Duration::from_mins(1));
        lock = match fastrand::u8(..9) {
            0..2 => lock.timeout(Duration::ZERO),
            2..4 => lock.timeout(Duration::from_millis(fastrand::u64(1..30))),
            4..6 => lock.timeout(Duration::from_secs(20)),
            6 => {
                let lock = lock.polling(Duration::from_millis(3));
                lock.timeout(Duration::from_secs(5))
            }
            _ => lock,
        };
        let drop_after =
            (fastrand::u8(..3) == 0).then(|| Duration::from_micros(fastrand::u64(..20_000)));
        Self {
            verb,
            lock,
            work: Duration::from_micros(fastrand::u64(..2_000)),
            drop_after,
        }
    }
}

impl Plan {
    fn random_lock(verb: Verb) -> AdvisoryLock {
        let has_permits = fastrand::u8(..4) == 0 && verb.is_of_lock();
        if has_permits {
            let key = fastrand::i64(KEYS..KEYS + SEMAPHORES);
            return AdvisoryLock::new(key).permits(PERMITS);
        }
        let several = fastrand::u8(..4) == 0 && verb.is_of_lock();
        let keys = (0..if several { 3 } else { 1 }).map(|_| fastrand::i64(0..KEYS));
        let lock = AdvisoryLock::all(keys);
        if fastrand::u8(..4) == 0 {
            return lock.shared();
        }
        lock
    }
}

/// The body under the lock: enters the sections, runs a statement where it has the connection,
/// pauses, and leaves the sections.
async fn body(sections: &Sections, plan: &Plan, held: Held<'_>) -> Result<(), Error> {
    let _inside = sections.enter(&plan.lock);
    if let Some(conn) = held {
        conn.execute("SELECT 1").await?;
    }
    sleep(plan.work).await;
    Ok(())
}

type Tally = Mutex<BTreeMap<(Verb, &'static str), u64>>;

/// A verb and an outcome that it can have, and has not had yet.
fn missing(tally: &Tally) -> Option<(Verb, &'static str)> {
    let tally = tally.lock().unwrap();
    let can_have = |verb: Verb, outcome| {
        // A function that waits has no timeout.
        let waits = verb.is_function() && verb.refusal() == Refusal::Error;
        !waits || outcome != "not acquired"
    };
    let outcomes = ["acquired", "not acquired", "dropped"];
    let all = Verb::ALL.into_iter();
    let mut all = all.flat_map(|verb| outcomes.map(|outcome| (verb, outcome)));
    all.find(|(verb, outcome)| can_have(*verb, *outcome) && !tally.contains_key(&(*verb, *outcome)))
}

async fn task(pool: PgPool, sections: Arc<Sections>, tally: Arc<Tally>, end: Instant) {
    // A busy machine needs longer to see everything.
    let latest = end + Duration::from_mins(1);
    while Instant::now() < end || Instant::now() < latest && missing(&tally).is_some() {
        let plan = Plan::random();
        let (sections, planned) = (sections.clone(), plan.clone());
        let running = plan.verb.run(&plan.lock, &pool, move |held| {
            Box::pin(async move { body(&sections, &planned, held).await })
        });
        let outcome = outcome(running, plan.drop_after, &plan).await;
        *tally
            .lock()
            .unwrap()
            .entry((plan.verb, outcome))
            .or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_sessions_hold_a_lock_and_nothing_remains() {
    let duration = Duration::from_secs(by_depth(2, 30));
    let (database, pool) = Database::with_pool(CONNECTIONS).await;
    let sections = Arc::new(Sections::new((0..KEYS + SEMAPHORES).map(Key::from)));
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + duration;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(task(pool.clone(), sections.clone(), tally.clone(), end));
    }
    tasks.join_all().await;
    database.assert_nothing_leaked(&pool).await;

    for ((verb, outcome), count) in &*tally.lock().unwrap() {
        println!("{verb:<40} {outcome:<14} {count:>8}");
    }
    assert_eq!(missing(&tally), None, "the test sees too little");
}
