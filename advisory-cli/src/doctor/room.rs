//! Whether the lock table has room.

use sqlx::postgres::PgConnection;

use super::check::Check;
use crate::sql;

const NAME: &str = "lock table";

pub(super) async fn check(conn: &mut PgConnection) -> Check {
    match sql::lock_table(conn).await {
        Ok((used, room)) => judge(used, room),
        Err(error) => Check::unknown(NAME, error),
    }
}

fn judge(used: i64, room: i64) -> Check {
    let free = (room - used).max(0);
    let percent = 100 * used / room.max(1);
    let found = format!("{used} of {room} entries used ({percent} %), room for {free} locks more");
    if 2 * used > room {
        let advice = "raise `max_locks_per_transaction`, which needs a restart, or take fewer locks at a time";
        return Check::warn(NAME, found, advice);
    }
    Check::pass(NAME, found)
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    #[test]
    fn more_than_half_is_a_warning() {
        assert_eq!(judge(3200, 6400).status, Status::Pass);
        assert_eq!(judge(3201, 6400).status, Status::Warn);
    }

    #[test]
    fn a_table_with_more_than_there_should_be_room_for_is_full() {
        let found = judge(210, 200).found;
        assert_eq!(
            found,
            "210 of 200 entries used (105 %), room for 0 locks more"
        );
    }
}
