//! The settings for workers of several numbers, computed from the figures.

use super::lock_table::LockCost;
use crate::report::{Part, Table};
use crate::sample::{thousands, three_digits};

/// The required settings and memory for several numbers of workers and keys.
pub(super) fn of(lock_cost: &LockCost) -> Part {
    let mut table = Table::new([
        "workers that hold locks at the same time",
        "keys per worker",
        "connections",
        "lock table entries",
        "`max_locks_per_transaction`",
        "shared memory for the lock table",
    ]);
    for (workers, keys) in [(10, 1), (10, 100), (200, 10), (1_000, 1), (10_000, 1)] {
        let (workers, keys) = (f64::from(workers), f64::from(keys));
        let entries = workers * keys;
        // Every transaction also locks tables and indexes in the lock table. The default of 64 is
        // left for them.
        let setting = 64.0 + (entries / workers).ceil();
        table.row([
            thousands(workers),
            thousands(keys),
            thousands(workers),
            thousands(entries),
            thousands(setting),
            format!(
                "{} MB",
                three_digits(setting * workers * lock_cost.bytes / 1e6)
            ),
        ]);
    }
    Part::new("growth-plan", table)
}
