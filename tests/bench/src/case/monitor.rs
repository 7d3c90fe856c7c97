//! The monitor, with few and with many locks held.

use advisory_core::{AdvisoryLock, monitor};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::report::{Part, Report, Table};
use crate::round_trips::{count, counted_and_direct};
use crate::sample::Nanoseconds;

const HELD: [u32; 3] = [1, 1_000, 10_000];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let (proxy, counted, direct) = counted_and_direct(&database).await;
    let mut table = Table::new([
        "locks held",
        "`monitor::locks`",
        "time per lock",
        "round trips",
    ]);
    for held in bench.effort.sizes(&HELD).iter().copied() {
        let all = AdvisoryLock::all((0..held).map(i64::from));
        let holder = all.begin(&direct).await.expect("they are free");
        let round_trips = count(&proxy, &mut [workload(&counted, held)]).await;
        let what = format!("monitor, {held} locks");
        let samples = measure(bench, &what, &mut [workload(&direct, held)]).await;
        table.row([
            held.to_string(),
            Nanoseconds(samples[0].median()).to_string(),
            Nanoseconds(samples[0].median() / f64::from(held)).to_string(),
            round_trips[0].map_or(String::new(), crate::report::format_round_trips),
        ]);
        holder.rollback().await.expect("it can be rolled back");
    }
    Part::new("monitor", table).into()
}

fn workload(pool: &PgPool, held: u32) -> Workload {
    let pool = pool.clone();
    Workload::new("`monitor::locks`", move || {
        let pool = pool.clone();
        async move {
            let locks = monitor::locks(&pool).await.expect("the server answers");
            assert_eq!(locks.len(), held as usize);
        }
    })
}
