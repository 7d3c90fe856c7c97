//! Several keys in one call.

use std::sync::Arc;
use std::time::Instant;

use advisory_core::{AdvisoryLock, Key};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::by_hand;
use crate::comparison::{Workload, measure};
use crate::one_core::OnOneCore;
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::round_trips::{count, counted_and_direct};
use crate::sample::{Nanoseconds, count as number, three_digits};

const COUNTS: [usize; 4] = [1, 10, 100, 1_000];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let (proxy, counted, direct) = counted_and_direct(&database).await;
    // On two cores, a long answer includes the time to wake up a sleeping core. On other systems
    // than Linux, two cores are used.
    let _on_one_core = OnOneCore::with(&database).await;
    let mut table = Table::new([
        "keys",
        "at once",
        "round trips",
        "one by one",
        "round trips",
        "relative speed",
    ]);
    let mut targets = Vec::new();
    let mut lines = ["at once", "one by one"].map(|name| Line {
        name: name.to_owned(),
        points: Vec::new(),
    });
    for keys in bench.effort.sizes(&COUNTS).iter().copied() {
        let round_trips = count(&proxy, &mut workloads(&counted, keys)).await;
        let samples = measure(
            bench,
            &format!("{keys} keys"),
            &mut workloads(&direct, keys),
        )
        .await;
        let [ours, theirs] = &samples[..] else {
            unreachable!("BUG: two workloads")
        };
        let ratio = theirs.ratio_to(ours);
        // The transaction has two round trips of its own.
        let round_trips = [round_trips[0], round_trips[1]]
            .map(|round_trips| round_trips.unwrap_or(f64::NAN) - 2.0);
        table.row([
            number(keys).to_string(),
            Nanoseconds(ours.median()).to_string(),
            crate::report::format_round_trips(round_trips[0]),
            Nanoseconds(theirs.median()).to_string(),
            crate::report::format_round_trips(round_trips[1]),
            three_digits(ratio),
        ]);
        for (line, sample) in lines.iter_mut().zip(&samples) {
            line.points.push((number(keys), sample.median() / 1e3));
        }
        match keys {
            100 => targets.push(Target::at_least(
                "100 keys at once, relative to one by one",
                10.0,
                ratio,
            )),
            1_000 => targets.push(Target::exactly(
                "round trips for 1,000 keys",
                1.0,
                round_trips[0],
            )),
            _ => {}
        }
    }
    let shape = Shape::Lines {
        across: "keys",
        up: "µs",
        lines: lines.into(),
    };
    Report {
        parts: vec![Part::new("keys", table)],
        plots: vec![Plot {
            file: "performance-keys",
            title: "Locking several keys in an open transaction",
            shape,
        }],
        targets,
    }
}

/// Times the locks only. The transaction is begun before and rolled back afterwards.
fn workloads(pool: &PgPool, keys: usize) -> Vec<Workload> {
    let keys: Vec<i64> = (1..).take(keys).collect();
    let lock = AdvisoryLock::all(keys.iter().copied().map(Key::from));
    let (ours, theirs, keys) = (pool.clone(), pool.clone(), Arc::new(keys));
    vec![
        Workload::timed("at once", move || {
            let (pool, lock) = (ours.clone(), lock.clone());
            async move {
                let mut tx = pool.begin().await.expect("a transaction can begin");
                let start = Instant::now();
                lock.acquire_xact(&mut tx).await.expect("they are free");
                let took = start.elapsed();
                tx.rollback().await.expect("it can be rolled back");
                took
            }
        }),
        Workload::timed("one by one", move || {
            let (pool, keys) = (theirs.clone(), Arc::clone(&keys));
            async move {
                let mut tx = pool.begin().await.expect("a transaction can begin");
                let start = Instant::now();
                let locked = by_hand::one_by_one(&mut tx, &keys);
                locked.await.expect("they are free");
                let took = start.elapsed();
                tx.rollback().await.expect("it can be rolled back");
                took
            }
        }),
    ]
}
