//! Who holds and who waits, asked while few and many locks are held.

use advisory_core::{AdvisoryLock, monitor};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::contest::{Lane, measure};
use crate::place::Place;
use crate::report::{Part, Report, Table};
use crate::sample::Nanoseconds;
use crate::trips::{count, counter};

const HELD: [u32; 3] = [1, 1_000, 10_000];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let (proxy, counted) = counter(&database).await;
    let (counted, direct) = (counted.pool().await, Place(database.options()).pool().await);
    let mut table = Table::new([
        "locks held",
        "`monitor::locks`",
        "middle half of the blocks",
        "p99",
        "for each lock",
        "round trips",
    ]);
    for held in HELD {
        let all = AdvisoryLock::all((0..held).map(i64::from));
        let holder = all.begin(&direct).await.expect("they are free");
        let trips = count(&proxy, &mut [lane(&counted, held)]).await;
        let what = format!("monitor, {held} locks");
        let samples = measure(bench, &what, &mut [lane(&direct, held)]).await;
        let (low, high) = samples[0].spread();
        table.row([
            held.to_string(),
            Nanoseconds(samples[0].median()).to_string(),
            format!("{} – {}", Nanoseconds(low), Nanoseconds(high)),
            Nanoseconds(samples[0].p99()).to_string(),
            Nanoseconds(samples[0].median() / f64::from(held)).to_string(),
            trips[0].map_or(String::new(), crate::report::trips),
        ]);
        holder.rollback().await.expect("it can be rolled back");
    }
    Report {
        parts: vec![Part::new("monitor", table)],
        ..Report::default()
    }
}

fn lane(pool: &PgPool, held: u32) -> Lane {
    let pool = pool.clone();
    Lane::new("`monitor::locks`", move || {
        let pool = pool.clone();
        async move {
            let locks = monitor::locks(&pool).await.expect("the server answers");
            assert_eq!(locks.len(), held as usize);
        }
    })
}
