//! How cost grows with locks that are held, with waiters, with connections.

mod held;
mod lock_table;
mod plan;
mod waiting;

use crate::Bench;
use crate::report::Report;

pub(crate) async fn run(bench: &Bench) -> Report {
    let (table, room) = lock_table::fill_several(bench).await;
    Report {
        parts: vec![
            table,
            held::measure(bench).await,
            waiting::measure(bench).await,
            plan::of(&room),
        ],
        ..Report::default()
    }
}
