//! Finds the session locks that other code has left on a pooled connection.

use std::future::Future;
use std::pin::Pin;

use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgConnection;

use crate::sql::{backend, function};

/// A hook for [`PgPoolOptions::after_release`]: frees the session locks that were left on a connection, and says so.
///
/// A session lock that is forgotten on a pooled connection is held until the connection closes, by nobody: the next one who
/// wants it waits for hours, or gets it twice because it happens to be on the same connection. This looks at every connection
/// that comes back, at the cost of one round trip in the background, and reports each finding as a `tracing` warning with its
/// keys. A connection on which locks remain, because a transaction was left open, is closed.
///
/// The guards of this crate need no such help; code that calls [`lock`](crate::lock) by hand may.
///
/// ```no_run
/// use advisory_core::hygiene;
/// use sqlx::postgres::PgPoolOptions;
///
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = PgPoolOptions::new()
///     .after_release(hygiene::after_release)
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
/// The pool runs it to its end.
///
/// [`PgPoolOptions::after_release`]: sqlx::pool::PoolOptions::after_release
pub fn after_release(
    conn: &mut PgConnection,
    _metadata: PoolConnectionMetadata,
) -> Pin<Box<dyn Future<Output = Result<bool, sqlx::Error>> + Send + '_>> {
    Box::pin(async move {
        let left = backend::held(conn).await?;
        if left.is_empty() {
            return Ok(true);
        }
        let keys = left
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        tracing::warn!(
            keys,
            "advisory locks were left on a pooled connection; they are released"
        );
        function::unlock_all(conn).await?;
        Ok(backend::held(conn).await?.is_empty())
    })
}
