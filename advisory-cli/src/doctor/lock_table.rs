//! Whether the shared lock table has free entries.

use sqlx::postgres::PgConnection;

use super::check::Check;
use crate::sql;

const NAME: &str = "lock table";

pub(super) async fn check(conn: &mut PgConnection) -> Check {
    match sql::lock_table(conn).await {
        Ok((used, capacity)) => evaluate(used, capacity),
        Err(error) => Check::unknown(NAME, &error),
    }
}

fn evaluate(used: i64, capacity: i64) -> Check {
    let free = (capacity - used).max(0);
    let percent = 100 * used / capacity.max(1);
    let found =
        format!("{used} of {capacity} entries used ({percent} %), room for {free} locks more");
    if 2 * used > capacity {
        let advice = "raise `max_locks_per_transaction`, which needs a restart, \
                      or take fewer locks at a time";
        return Check::warn(NAME, found, advice);
    }
    Check::pass(NAME, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_beyond_its_guaranteed_capacity_has_no_free_entries() {
        let found = evaluate(210, 200).found;
        let expected = "210 of 200 entries used (105 %), room for 0 locks more";
        assert_eq!(found, expected);
    }
}
