//! A number that grows with every grant, for what PostgreSQL does not guard.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::executor::ready;
use crate::sql::fencing;
use crate::{Error, LockExecutor};

/// A number that is greater than any that was taken under the same lock before, to be taken while the transaction holds the lock.
///
/// A holder that has lost its lock may not know it yet, and still write to what PostgreSQL does not guard: an object store, another
/// service, another database. Give it the number with every write, and have the writer's target keep the greatest it has seen
/// and refuse what is smaller:
///
/// ```sql
/// UPDATE document SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2
/// ```
///
/// What is written in the transaction that holds the lock needs no such number: it is gone with the transaction.
///
/// The number is the position in the write-ahead log of a record that is written for it, behind the number of the server's timeline,
/// which grows with every failover. It grows across sessions, scopes, restarts and failovers to a physical standby, for all keys
/// together, as long as each new primary has followed the last one or shares its archive: one that never saw the last promotion gives
/// itself the same timeline. It needs no table and no rights. It begins anew where the data move to another cluster (`pg_upgrade`, a
/// dump, logical replication). Before PostgreSQL 17 the record is safe only when the transaction is committed: if the server
/// crashes and restarts, without a failover, within the second after the number was taken, one that is taken right after it may be
/// smaller.
///
/// One round trip. From PostgreSQL 17 on it waits until the record is on disk; before, the commit does.
///
/// ```no_run
/// use advisory_core::{AdvisoryLock, Error, fencing_token};
///
/// # async fn upload(fence: i64) {}
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let lock = AdvisoryLock::new("report");
/// lock.transaction(pool, async |tx| {
///     let fence = fencing_token(&mut *tx).await?;
///     upload(fence).await;
///     Ok::<_, Error>(())
/// })
/// .await
/// # }
/// ```
///
/// # Errors
///
/// [`Error::NotInTransaction`] outside a transaction, where nothing is sent; for a session lock there is
/// [`SessionGuard::fencing_token`](crate::SessionGuard::fencing_token). [`Error::Unsupported`] on a standby.
///
/// # Cancel safety
///
/// Cancel safe: a number that nobody has seen does no harm.
pub async fn fencing_token(mut executor: impl LockExecutor) -> Result<i64, Error> {
    let conn = executor.connection();
    if !conn.is_in_transaction() {
        return Err(Error::NotInTransaction);
    }
    token(conn).await
}

pub(crate) async fn token(conn: &mut PgConnection) -> Result<i64, Error> {
    ready(conn).await?;
    fencing::token(conn).await
}
