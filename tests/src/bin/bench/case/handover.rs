//! From the moment a holder releases to the moment the next one starts.

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
use crate::contest::{nanoseconds, turns};
use crate::place::Place;
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, Sample, count as number, three_digits};

const NAME: &str = "bench:handover";
const KEY: i64 = 4_713;
const WAITERS: [usize; 3] = [1, 8, 32];
/// As long as the lock is held, so that who has had it is in the queue again, and at rest.
const HOLD: Duration = Duration::from_millis(4);
/// How often somebody who has had the lock looks whether the next one has it.
const LOOK: Duration = Duration::from_millis(1);
/// What is polled by default by who polls: Rails' `with_advisory_lock`, on the average.
const INTERVAL: Duration = Duration::from_millis(100);

/// Opens a transaction that holds the lock.
type Take = fn(PgPool) -> BoxFuture<'static, PgTransaction<'static>>;

/// What it is called, how it is done, and how many are measured in a round: polling takes its time.
const WAYS: [(&str, Take, usize); 3] = [
    ("ours", queueing, 60),
    ("by hand", queueing_by_hand, 60),
    ("ours, polling every 100 ms", polling, 8),
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let header = [
        "waiters",
        "way",
        "median",
        "middle half of the blocks",
        "p99",
        "times as fast as by hand",
    ];
    let mut table = Table::new(header);
    let mut targets = Vec::new();
    let mut lines = WAYS.map(|(name, ..)| Line {
        name: name.to_owned(),
        points: Vec::new(),
    });
    let few = |waiters: &usize| !bench.effort.is_smoke || *waiters < 10;
    for waiters in WAITERS.into_iter().filter(few) {
        let samples = contest(bench, &database, waiters).await;
        for (way, sample) in samples.iter().enumerate() {
            let (low, high) = sample.spread();
            table.row([
                waiters.to_string(),
                WAYS[way].0.to_owned(),
                Nanoseconds(sample.median()).to_string(),
                format!("{} – {}", Nanoseconds(low), Nanoseconds(high)),
                Nanoseconds(sample.p99()).to_string(),
                three_digits(samples[1].ratio_to(sample)),
            ]);
            let point = (number(waiters), sample.median() / 1e3);
            lines[way].points.push(point);
        }
        if waiters == 32 {
            let ratio = samples[1].ratio_to(&samples[0]);
            let what = "hand-over with 32 waiters against by hand";
            targets.push(Target::at_least(what, 1.0 / 1.1, ratio));
        }
    }
    let shape = Shape::Lines {
        across: "waiters",
        up: "µs",
        lines: lines.into(),
    };
    Report {
        parts: vec![Part::new("handover", table)],
        plots: vec![Plot {
            file: "performance-handover",
            title: "From a release to the next holder's start",
            shape,
        }],
        targets,
    }
}

async fn contest(bench: &Bench, database: &Database, waiters: usize) -> Vec<Sample> {
    // One holds, and the others have a connection each to wait on.
    let connections = u32::try_from(waiters + 1).expect("BUG: a few waiters");
    let place = Place(database.options());
    let pool = place.pool_of(connections + 1, false).await;
    let mut samples = vec![Sample::default(); WAYS.len()];
    let rounds = bench.effort.fewer_rounds(3);
    for round in 0..rounds {
        bench.say(&format!(
            "hand-over, {waiters} waiters: round {} of {rounds}",
            round + 1
        ));
        for turn in turns(WAYS.len(), round) {
            let (_, take, times) = WAYS[turn];
            let times = if bench.effort.is_smoke { 3 } else { times };
            samples[turn].push(hand_overs(&pool, take, waiters, times).await);
        }
    }
    samples
}

/// What is known of the lock.
struct Baton {
    released: Mutex<Option<Instant>>,
    taken: AtomicUsize,
    took: Mutex<Vec<f64>>,
}

async fn hand_overs(pool: &PgPool, take: Take, waiters: usize, times: usize) -> Vec<f64> {
    let baton = Arc::new(Baton {
        released: Mutex::default(),
        taken: AtomicUsize::new(0),
        took: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..=waiters {
        tasks.spawn(relay(
            pool.clone(),
            take,
            Arc::clone(&baton),
            waiters,
            times,
        ));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("nobody fails");
    }
    std::mem::take(&mut *baton.took.lock().await)
}

/// Takes the lock, notes how long it was free, holds it for a moment, and queues again.
async fn relay(pool: PgPool, take: Take, baton: Arc<Baton>, waiters: usize, times: usize) {
    // Until everybody has had it once, not all of them wait; towards the end they do no longer.
    let counted = waiters + 1..=waiters + times;
    while baton.taken.load(Ordering::Relaxed) < *counted.end() {
        let tx = take(pool.clone()).await;
        let now = Instant::now();
        let taken = baton.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let released = baton.released.lock().await.take();
        if let Some(released) = released.filter(|_| counted.contains(&taken)) {
            baton.took.lock().await.push(nanoseconds(now - released));
        }
        tokio::time::sleep(HOLD).await;
        *baton.released.lock().await = Some(Instant::now());
        tx.commit().await.expect("it can be committed");
        // Who polls might have it again before anybody else asks.
        while baton.taken.load(Ordering::Relaxed) == taken && taken < *counted.end() {
            tokio::time::sleep(LOOK).await;
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
