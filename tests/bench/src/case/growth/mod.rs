//! How the cost grows with the number of held locks, waiters and connections.

mod held;
mod lock_table;
mod plan;
mod waiting;

use crate::Bench;
use crate::report::Report;

pub(crate) async fn run(bench: &Bench) -> Report {
    let (table, lock_cost) = lock_table::fill_several(bench).await;
    Report {
        parts: vec![
            table,
            held::measure(bench).await,
            waiting::measure(bench).await,
            plan::of(&lock_cost),
        ],
        ..Report::default()
    }
}
