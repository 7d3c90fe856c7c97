//! Migration at start-up.

use sqlx::Row as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPool;

use crate::error::Error;
use crate::function::unlock;
use crate::key::Key;
use crate::lock::AdvisoryLock;
use crate::scheme::sqlx_migrate;
use crate::session::send_on_pool;
use crate::sql::DATABASE_NAME;
use crate::sql::send::last_row;
use crate::time_bounds::{DEFAULT_RESPONSE_TIMEOUT, MIGRATION_POLL};

/// Runs the pending migrations of sqlx's migrator, while no other process migrates the database.
///
/// It does what [`Migrator::run`] does, under the same lock: a process that calls `run` and one
/// that runs `sqlx migrate run` are excluded, too. It differs in three points:
///
/// - It polls for the lock and does not queue for it. A wait in the server's queue holds a
///   snapshot, for which a migration with `CREATE INDEX CONCURRENTLY` waits, so that one of them
///   fails with a deadlock. This still happens to a process that calls `run` meanwhile.
/// - Its future is `Send`, so it can be spawned.
/// - A failed migration leaves no lock behind. The migrations run on the session that holds the
///   lock, and that connection does not return to the pool, because a migration can change its
///   settings, such as `search_path`.
///
/// It waits for other migrations without a limit. Bound it with [`tokio::time::timeout`].
///
/// ```no_run
/// # use sqlx::migrate::Migrator;
/// # async fn example(pool: &sqlx::PgPool, migrator: Migrator) -> Result<(), advisory_core::Error> {
/// // Or `&sqlx::migrate!()`, with the migrations in the binary.
/// advisory_core::migrate(&migrator, pool).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Database`] with [`sqlx::Error::Migrate`] if a migration fails, or if the applied
/// migrations are not those of the migrator. [`Error::Lost`] if a migration has released the lock.
/// [`Error::Unsupported`] behind a pooler in transaction mode, where no session can hold the lock.
/// Otherwise as [`AdvisoryLock::acquire`].
///
/// # Cancel safety
///
/// If the future is dropped, its connection is closed within a second, or at once after the running
/// statement. The lock is then free, and a migration in a transaction is rolled back. An index that
/// was being created concurrently remains as an invalid index.
pub async fn migrate(migrator: &Migrator, pool: &PgPool) -> Result<(), Error> {
    let key = key(pool).await?;
    let lock = AdvisoryLock::with_scheme("sqlx migrate", |_: &str| key);
    let mut guard = if let Some(guard) = lock.try_acquire(pool).await? {
        guard
    } else {
        tracing::info!("waits for another process that migrates the database");
        lock.polling(MIGRATION_POLL).acquire(pool).await?
    };
    guard.close_after_release();
    // `Migrator::run` is generic over what it acquires, and the compiler cannot see that its future
    // is `Send`. This is what it calls, with a connection.
    let migrated = migrator
        .run_direct(None, guard.connection().await?, false)
        .await;
    // A migrator that fails keeps its own hold of the lock.
    if migrated.is_err()
        && let Ok(conn) = guard.connection().await
    {
        let _ = unlock(conn, key).await;
    }
    let released = guard.release().await;
    migrated.map_err(sqlx::Error::from)?;
    released
}

/// The migrator's own lock. The server knows the name of the database; behind a pooler, the pool's
/// options may have another one.
async fn key(pool: &PgPool) -> Result<Key, Error> {
    let rows = send_on_pool(pool, DATABASE_NAME, DEFAULT_RESPONSE_TIMEOUT).await?;
    Ok(sqlx_migrate(last_row(rows)?.try_get(0)?))
}
