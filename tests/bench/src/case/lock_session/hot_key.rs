//! One key that all tasks want, and a session outside that queues for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use advisory_tests::Database;
use sqlx::PgConnection;
use tokio::time::sleep;

use super::Variant;
use crate::Bench;
use crate::by_hand;
use crate::comparison::{in_rotation, nanoseconds};
use crate::endpoint::Endpoint;
use crate::rate::rate;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, Sample, thousands, three_digits};

const TASKS: usize = 32;
const KEY: i64 = 4_715;
/// How long the session outside does nothing between two locks.
const PAUSE: Duration = Duration::from_millis(10);

/// The rates of a variant alone, and the waits of a session outside beside it.
#[derive(Clone, Default)]
struct Row {
    alone: Sample,
    waits: Sample,
}

pub(super) async fn measure(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let variants = Variant::all(&Endpoint(database.options())).await;
    let rows = compare(bench, &database, &variants).await;
    let mut table = Table::new([
        "method",
        "pairs per second",
        "relative speed",
        "wait of that session, median",
        "p99",
    ]);
    for (index, ((name, _), row)) in variants.iter().zip(&rows).enumerate() {
        let ratio = || format!("{} ×", three_digits(row.alone.ratio_to(&rows[1].alone)));
        table.row([
            (*name).to_owned(),
            thousands(row.alone.median()),
            if index == 1 { String::new() } else { ratio() },
            Nanoseconds(row.waits.median()).to_string(),
            Nanoseconds(row.waits.p99()).to_string(),
        ]);
    }
    let ratio = rows[0].alone.ratio_to(&rows[1].alone);
    let wait = rows[0].waits.median() / 1e6;
    Part::new("lock-session-hot", table).with_targets(vec![
        Target::at_least(
            format!("`LockSession`, {TASKS} tasks on one key, relative to `PgAdvisoryLock`"),
            5.0,
            ratio,
        ),
        Target::at_most(
            "wait of a session outside for that key, median",
            100.0,
            wait,
            " ms",
        ),
    ])
}

async fn compare(bench: &Bench, database: &Database, variants: &[(&str, Variant)]) -> Vec<Row> {
    let mut rows = vec![Row::default(); variants.len()];
    let rounds = bench.effort.fewer_rounds(5);
    for index in in_rotation(bench, "lock session, one key", rounds, variants.len()) {
        let (variant, row) = (&variants[index].1, &mut rows[index]);
        let length = bench.effort.block * 10;
        row.alone.push(vec![of_tasks(variant, length).await]);
        let stop = Arc::new(AtomicBool::new(false));
        let outside = queue_outside(database.connection().await, Arc::clone(&stop));
        let outside = tokio::spawn(outside);
        of_tasks(variant, length).await;
        stop.store(true, Ordering::Relaxed);
        row.waits.push(outside.await.expect("it does not fail"));
    }
    rows
}

/// Pairs per second.
async fn of_tasks(variant: &Variant, length: Duration) -> f64 {
    rate((0..TASKS).map(|_| variant.pair(KEY)), length).await
}

/// Takes the lock again and again on a connection of its own. Returns how long it has waited.
async fn queue_outside(mut conn: PgConnection, stop: Arc<AtomicBool>) -> Vec<f64> {
    let mut waits = Vec::new();
    while waits.is_empty() || !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let locked = by_hand::lock(&mut conn, KEY).await;
        locked.expect("the lock is granted");
        waits.push(nanoseconds(start.elapsed()));
        let unlocked = by_hand::unlock(&mut conn, KEY).await;
        unlocked.expect("the server answers");
        sleep(PAUSE).await;
    }
    waits
}
