//! How the cost grows with the number of held locks, waiters and connections.

mod held;
mod lock_table;
mod waiting;

use crate::Bench;
use crate::report::Report;

pub(crate) async fn run(bench: &Bench) -> Report {
    Report {
        parts: vec![
            lock_table::fill_several(bench).await,
            held::measure(bench).await,
            waiting::measure(bench).await,
        ],
        ..Report::default()
    }
}
