//! What sessions still hold after their last call.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

/// How long locks and transactions may remain after the last call, or after the end of a process.
const LEAK_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts the advisory locks and the open transactions of the sessions in this database whose
/// `application_name` is like `$1`.
const LEFT: &str = "\
    SELECT (SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database \
            JOIN pg_stat_activity AS a USING (pid) WHERE l.locktype = 'advisory' \
            AND d.datname = current_database() AND a.application_name LIKE $1) \
         + (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
            AND application_name LIKE $1 AND state LIKE 'idle in transaction%')";

/// The number of locks and open transactions, once there are none or after two seconds.
pub(crate) async fn left(conn: &mut PgConnection, application_name: &str) -> sqlx::Result<i64> {
    let deadline = Instant::now() + LEAK_TIMEOUT;
    loop {
        let left = sqlx::query_scalar(LEFT).bind(application_name);
        let left = left.fetch_one(&mut *conn).await?;
        if left == 0 || Instant::now() > deadline {
            return Ok(left);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
