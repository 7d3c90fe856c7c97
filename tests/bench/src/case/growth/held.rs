//! The cost of a lock while many locks are held.

use std::time::Instant;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use sqlx::PgPool;

use crate::Bench;
use crate::comparison::nanoseconds;
use crate::endpoint::Endpoint;
use crate::report::Part;
use crate::sample::{Nanoseconds, quantile, thousands};

/// The numbers of keys that are held while one more is taken.
const HELD: [u32; 4] = [0, 100, 1_000, 10_000];

/// Measures one more lock while many are held, and taking and releasing that many locks.
pub(super) async fn measure(bench: &Bench) -> Part {
    let database = Database::on(&bench.server).await;
    let pool = Endpoint(database.options()).pool().await;
    let mut rows = Vec::new();
    let one = AdvisoryLock::new("bench:growth");
    for held in bench.effort.sizes(&HELD).iter().copied() {
        bench.set_progress(&format!("growth: {held} keys held"));
        let all = AdvisoryLock::all((0..held).map(i64::from));
        let holder = all.begin(&pool).await.expect("they are free");
        let more = median(bench, 300, &one, &pool).await;
        holder.rollback().await.expect("it can be rolled back");
        let whole = median(bench, 10, &all, &pool).await;
        rows.push((held, more, whole));
    }
    let (Some((_, alone, _)), Some((held, beside, whole))) = (rows.first(), rows.last()) else {
        unreachable!("BUG: there are sizes")
    };
    let text = format!(
        "A `transaction` on one key takes {} alone, and {} while {} others are held. On all of these keys at once, it takes {}.",
        Nanoseconds(*alone),
        Nanoseconds(*beside),
        thousands(f64::from(*held)),
        Nanoseconds(*whole),
    );
    Part::text("growth-held", text)
}

async fn median(bench: &Bench, times: usize, lock: &AdvisoryLock, pool: &PgPool) -> f64 {
    let times = bench.effort.unless_smoke(times, 1);
    let mut took = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        let done = lock.transaction(pool, async |_| Ok::<_, Error>(()));
        done.await.expect("they are free");
        took.push(nanoseconds(start.elapsed()));
    }
    quantile(&took, 0.5)
}
