//! The time from the release of a lock to the start of the next holder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgPool, PgTransaction};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Bench;
use crate::by_hand;
use crate::comparison::{in_rotation, nanoseconds};
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, Sample, three_digits};

const NAME: &str = "bench:handover";
const KEY: i64 = 4_713;
const WAITERS: [usize; 2] = [1, 32];
/// How long the lock is held: long enough that the previous holder waits in the queue again.
const HOLD: Duration = Duration::from_millis(4);
/// The interval at which the previous holder checks that the next one has the lock.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);
/// The polling interval, which is the average of Rails' `with_advisory_lock`.
const INTERVAL: Duration = Duration::from_millis(100);

/// Opens a transaction that holds the lock.
type Take = fn(PgPool) -> BoxFuture<'static, PgTransaction<'static>>;

/// The name of each variant, how it takes the lock, and how many hand-overs are measured in a
/// round. Polling is slow.
const VARIANTS: [(&str, Take, usize); 3] = [
    ("ours", queueing, 60),
    ("by hand", queueing_by_hand, 60),
    ("ours, polling every 100 ms", polling, 8),
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let header = [
        "waiters",
        "method",
        "median",
        "p99",
        "speed relative to by hand",
    ];
    let mut table = Table::new(header);
    let mut targets = Vec::new();
    let few = |waiters: &usize| !bench.effort.is_smoke || *waiters < 10;
    for waiters in WAITERS.into_iter().filter(few) {
        let samples = compare(bench, &database, waiters).await;
        for (variant, sample) in samples.iter().enumerate() {
            table.row([
                waiters.to_string(),
                VARIANTS[variant].0.to_owned(),
                Nanoseconds(sample.median()).to_string(),
                Nanoseconds(sample.p99()).to_string(),
                three_digits(samples[1].ratio_to(sample)),
            ]);
        }
        if waiters == 32 {
            let ratio = samples[1].ratio_to(&samples[0]);
            let what = "hand-over with 32 waiters, relative to by hand";
            targets.push(Target::at_least(what, 1.0 / 1.1, ratio));
        }
    }
    Part::new("handover", table).with_targets(targets)
}

async fn compare(bench: &Bench, database: &Database, waiters: usize) -> Vec<Sample> {
    // By hand, the holder and every waiter need a connection each.
    let connections = u32::try_from(waiters + 1).expect("BUG: a few waiters");
    let endpoint = Endpoint(database.options());
    let pool = endpoint.pool_of(connections + 1, false).await;
    let rounds = bench.effort.fewer_rounds(3);
    let what = format!("hand-over, {waiters} waiters");
    // Polling takes as long with more of them.
    let variants = if waiters == 1 { VARIANTS.len() } else { 2 };
    let mut samples = vec![Sample::default(); variants];
    for index in in_rotation(bench, &what, rounds, variants) {
        let (_, take, times) = VARIANTS[index];
        let times = bench.effort.unless_smoke(times, 3);
        samples[index].push(hand_overs(&pool, take, waiters, times).await);
    }
    samples
}

/// The times of the lock, shared by all tasks.
struct LockTimes {
    released: Mutex<Option<Instant>>,
    taken: AtomicUsize,
    took: Mutex<Vec<f64>>,
}

async fn hand_overs(pool: &PgPool, take: Take, waiters: usize, times: usize) -> Vec<f64> {
    let lock_times = Arc::new(LockTimes {
        released: Mutex::default(),
        taken: AtomicUsize::new(0),
        took: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..=waiters {
        tasks.spawn(compete(
            pool.clone(),
            take,
            Arc::clone(&lock_times),
            waiters,
            times,
        ));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task fails");
    }
    std::mem::take(&mut *lock_times.took.lock().await)
}

/// Takes the lock, records how long it was free, holds it for a moment, and waits again.
async fn compete(
    pool: PgPool,
    take: Take,
    lock_times: Arc<LockTimes>,
    waiters: usize,
    times: usize,
) {
    // Not all tasks wait until each has held the lock once, and they stop waiting towards the end.
    let counted = waiters + 1..=waiters + times;
    while lock_times.taken.load(Ordering::Relaxed) < *counted.end() {
        let tx = take(pool.clone()).await;
        let now = Instant::now();
        let taken = lock_times.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let released = lock_times.released.lock().await.take();
        if let Some(released) = released.filter(|_| counted.contains(&taken)) {
            lock_times
                .took
                .lock()
                .await
                .push(nanoseconds(now - released));
        }
        tokio::time::sleep(HOLD).await;
        *lock_times.released.lock().await = Some(Instant::now());
        tx.commit().await.expect("it can be committed");
        // A polling task could take the lock again before another task polls.
        while lock_times.taken.load(Ordering::Relaxed) == taken && taken < *counted.end() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }
}

fn queueing(pool: PgPool) -> BoxFuture<'static, PgTransaction<'static>> {
    Box::pin(async move {
        let begun = AdvisoryLock::new(NAME).begin(&pool).await;
        begun.expect("it is granted")
    })
}

fn polling(pool: PgPool) -> BoxFuture<'static, PgTransaction<'static>> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(NAME).polling(INTERVAL);
        lock.begin(&pool).await.expect("it is granted")
    })
}

fn queueing_by_hand(pool: PgPool) -> BoxFuture<'static, PgTransaction<'static>> {
    Box::pin(async move {
        let begun = by_hand::begin(&pool, KEY).await;
        begun.expect("it is granted")
    })
}
