//! Mutual exclusion under load: many tasks, few keys, every verb and random drops. There are never
//! two holders, and nothing remains.
//!
//! Runs for 30 s, or for `ADVISORY_STRESS_SECONDS`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, SessionGuard, advisory};
use advisory_tests::Database;
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::time::{sleep, timeout};

const TASKS: usize = 200;
const KEYS: i32 = 20;
const CONNECTIONS: u32 = 40;

/// A critical section for each key. Its value is -1 while it is held exclusively, otherwise the
/// number of shared holders.
struct Sections(Vec<AtomicI32>);

/// A holder in some sections. It leaves them when it is dropped.
struct Occupied<'s> {
    sections: &'s Sections,
    keys: Vec<i32>,
    shared: bool,
}

impl Sections {
    fn enter(&self, plan: &Plan) -> Occupied<'_> {
        for key in &plan.keys {
            let section = &self.0[usize::try_from(*key).unwrap()];
            let before = if plan.shared {
                section.fetch_add(1, Ordering::SeqCst)
            } else {
                section.fetch_sub(1, Ordering::SeqCst)
            };
            assert!(
                if plan.shared {
                    before >= 0
                } else {
                    before == 0
                },
                "two holders of key {key}: {before}, {plan:?}"
            );
        }
        Occupied {
            sections: self,
            keys: plan.keys.clone(),
            shared: plan.shared,
        }
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        for key in &self.keys {
            let back = if self.shared { -1 } else { 1 };
            self.sections.0[usize::try_from(*key).unwrap()].fetch_add(back, Ordering::SeqCst);
        }
    }
}

/// What a task does next.
#[derive(Clone, Debug)]
struct Plan {
    verb: &'static str,
    keys: Vec<i32>,
    shared: bool,
    lock: AdvisoryLock,
    /// The timeout of the lock, if one is set.
    timeout: Option<Duration>,
    work: Duration,
    drop_after: Option<Duration>,
}

const VERBS: [&str; 14] = [
    "begin",
    "try_begin",
    "transaction",
    "try_transaction",
    "acquire_xact",
    "try_acquire_xact",
    "xact_lock",
    "try_xact_lock",
    "attribute on a pool",
    "attribute that skips",
    "attribute on a connection",
    "acquire",
    "try_acquire",
    "attribute in a session",
];

impl Plan {
    fn random() -> Self {
        let verb = fastrand::choice(VERBS).unwrap();
        let several = fastrand::u8(..4) == 0 && !verb.ends_with("xact_lock");
        let keys: Vec<_> = (0..if several { 3 } else { 1 })
            .map(|_| fastrand::i32(0..KEYS))
            .collect();
        let mut lock = AdvisoryLock::all(keys.iter().copied());
        let keys = (0..KEYS).filter(|key| keys.contains(key)).collect();
        let shared = fastrand::u8(..4) == 0 && !verb.ends_with("xact_lock");
        if shared {
            lock = lock.shared();
        }
        let mut timeout = match fastrand::u8(..4) {
            0 => Some(Duration::ZERO),
            1 => Some(Duration::from_millis(fastrand::u64(1..30))),
            2 => Some(Duration::from_secs(20)),
            _ => None,
        };
        if fastrand::u8(..8) == 0 {
            lock = lock.polling(Duration::from_millis(3));
            timeout = Some(Duration::from_secs(5));
        }
        if let Some(timeout) = timeout {
            lock = lock.timeout(timeout);
        }
        let drop_after =
            (fastrand::u8(..3) == 0).then(|| Duration::from_micros(fastrand::u64(..20_000)));
        let work = Duration::from_micros(fastrand::u64(..2_000));
        Self {
            verb,
            keys,
            shared,
            lock,
            timeout,
            work,
            drop_after,
        }
    }
}

/// The body under the lock: enters the sections, runs a statement or pauses, and leaves them.
async fn body(sections: &Sections, plan: &Plan, conn: &mut PgConnection) -> Result<(), Error> {
    let _inside = sections.enter(plan);
    sqlx::query("SELECT 1").execute(conn).await?;
    sleep(plan.work).await;
    Ok(())
}

#[advisory(key = &plan.lock, tx)]
async fn on_pool(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<(), Error> {
    body(sections, plan, tx).await
}

#[advisory(
    key = &plan.lock,
    tx,
    timeout = plan.timeout.unwrap_or(Duration::MAX),
    side_effect = Skip
)]
async fn skipping(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<Option<()>, Error> {
    body(sections, plan, tx).await.map(Some)
}

#[advisory(key = &plan.lock)]
async fn on_connection(
    conn: &mut PgConnection,
    sections: &Sections,
    plan: &Plan,
) -> Result<(), Error> {
    body(sections, plan, conn).await
}

#[advisory(key = &plan.lock, scope = session)]
async fn in_session(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<(), Error> {
    let _inside = sections.enter(plan);
    sleep(plan.work).await;
    Ok(())
}

/// Returns `true` if the lock was acquired.
async fn run(pool: &PgPool, sections: &Sections, plan: &Plan) -> Result<bool, Error> {
    let lock = &plan.lock;
    let in_body = async |tx: &mut PgTransaction<'_>| body(sections, plan, tx).await;
    match plan.verb {
        "begin" => end(sections, plan, lock.begin(pool).await?).await?,
        "try_begin" => match lock.try_begin(pool).await? {
            Some(tx) => end(sections, plan, tx).await?,
            None => return Ok(false),
        },
        "transaction" => lock.transaction(pool, in_body).await?,
        "try_transaction" => return Ok(lock.try_transaction(pool, in_body).await?.is_some()),
        "attribute on a pool" => on_pool(pool, sections, plan).await?,
        "attribute that skips" => return Ok(skipping(pool, sections, plan).await?.is_some()),
        "acquire" => release(sections, plan, lock.acquire(pool).await?).await?,
        "try_acquire" => match lock.try_acquire(pool).await? {
            Some(guard) => release(sections, plan, guard).await?,
            None => return Ok(false),
        },
        "attribute in a session" => in_session(pool, sections, plan).await?,
        "attribute on a connection" => {
            let mut conn = pool.acquire().await?;
            on_connection(&mut conn, sections, plan).await?;
        }
        joining => {
            // sqlx's `begin` leaves a transaction open in the pool if it is dropped before it
            // returns; a lock on no keys does not.
            let mut tx = AdvisoryLock::all([0_i64; 0]).begin(pool).await?;
            let acquired = match joining {
                "acquire_xact" => lock.acquire_xact(&mut tx).await.map(|()| true)?,
                "try_acquire_xact" => lock.try_acquire_xact(&mut tx).await?,
                "xact_lock" => advisory_core::xact_lock(&mut tx, plan.keys[0])
                    .await
                    .map(|()| true)?,
                _ => advisory_core::try_xact_lock(&mut tx, plan.keys[0]).await?,
            };
            if acquired {
                end(sections, plan, tx).await?;
            }
            return Ok(acquired);
        }
    }
    Ok(true)
}

/// Releases the guard explicitly or by dropping it.
async fn release(sections: &Sections, plan: &Plan, mut guard: SessionGuard) -> Result<(), Error> {
    body(sections, plan, guard.connection().await?).await?;
    if fastrand::bool() {
        return guard.release().await;
    }
    drop(guard);
    Ok(())
}

async fn end(sections: &Sections, plan: &Plan, mut tx: PgTransaction<'_>) -> Result<(), Error> {
    body(sections, plan, &mut tx).await?;
    Ok(tx.commit().await?)
}

type Tally = Mutex<BTreeMap<(&'static str, &'static str), u64>>;

async fn task(pool: PgPool, sections: Arc<Sections>, tally: Arc<Tally>, end: Instant) {
    while Instant::now() < end {
        let plan = Plan::random();
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
        *tally
            .lock()
            .unwrap()
            .entry((plan.verb, outcome))
            .or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_sessions_hold_a_lock_and_nothing_remains() {
    let seconds = std::env::var("ADVISORY_STRESS_SECONDS").map_or(30, |s| s.parse().unwrap());
    let database = Database::new().await;
    let pool = database.pool(CONNECTIONS).await;
    let sections = Arc::new(Sections((0..KEYS).map(|_| AtomicI32::new(0)).collect()));
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(task(pool.clone(), sections.clone(), tally.clone(), end));
    }
    tasks.join_all().await;
    database.assert_nothing_leaked(&pool).await;

    let tally = tally.lock().unwrap();
    for ((verb, outcome), count) in &*tally {
        println!("{verb:<26} {outcome:<14} {count:>8}");
    }
    for verb in VERBS {
        for outcome in ["acquired", "not acquired", "dropped"] {
            let can = !(verb == "xact_lock" && outcome == "not acquired");
            assert!(
                !can || tally.contains_key(&(verb, outcome)),
                "{verb} was never {outcome}: the test sees too little"
            );
        }
    }
}
