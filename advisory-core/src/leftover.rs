//! Session locks that other code has left on a pooled connection.

use std::future::Future;
use std::pin::Pin;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgConnection;

use crate::key::Key;
use crate::sql::backend::{HELD_KEYS, read_keys};
use crate::sql::function::unlock_all;
use crate::sql::send::send;

/// A hook for [`PgPoolOptions::after_release`]: releases the session locks that were left on a
/// connection, and logs a warning.
///
/// A session lock that is forgotten on a pooled connection is held until the connection closes, and
/// nobody owns it: the next task that wants it waits for hours, or is granted it twice because it
/// happens to run on the same connection. This hook checks every connection that returns to the
/// pool, which costs one round trip in the background, and reports each finding as a `tracing`
/// warning with its keys. A connection on which locks remain, because a transaction was left open,
/// is closed.
///
/// The guards of this crate do not need it; code that calls [`lock`](crate::lock()) by hand may.
///
/// ```no_run
/// use sqlx::postgres::PgPoolOptions;
///
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = PgPoolOptions::new()
///     .after_release(advisory_core::release_leftover_locks)
///     .connect("postgres://localhost/app")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of the connection; the pool then closes it.
///
/// # Cancel safety
///
/// The pool does not cancel its hooks.
///
/// [`PgPoolOptions::after_release`]: sqlx::pool::PoolOptions::after_release
pub fn release_leftover_locks(
    conn: &mut PgConnection,
    _metadata: PoolConnectionMetadata,
) -> Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send + '_>> {
    Box::pin(async move {
        let keys = held_keys(conn).await?;
        if keys.is_empty() {
            return Ok(true);
        }
        let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
        tracing::warn!(
            keys = keys.join(", "),
            "advisory locks were left on a pooled connection; they are released"
        );
        send(&mut *conn, unlock_all()).await?;
        Ok(held_keys(conn).await?.is_empty())
    })
}

async fn held_keys(conn: &mut PgConnection) -> Result<Vec<Key>, sqlx::Error> {
    Ok(read_keys(&send(conn, HELD_KEYS).await?))
}
