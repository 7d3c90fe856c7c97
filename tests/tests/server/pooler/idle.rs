//! The idle transaction that holds a session lock: what does not end it, and what it does not hold
//! up.

use std::time::Duration;

use advisory_core::{AdvisoryLock, LockSession};
use advisory_tests::{Pooling, scalar};
use sqlx::Executor as _;
use tokio::time::timeout;

use super::fixture::{Cache, Fixture, in_time};

/// Beside the lock of a pool and that of a `LockSession`.
async fn beside_locks(prepare: &str, work: impl AsyncFnOnce(&Fixture)) {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 3).await else {
        return;
    };
    fixture.database.execute(prepare).await;
    let pool = fixture.pool(Cache::Default, 3).await;
    let locks = LockSession::new(&pool);
    let own = AdvisoryLock::new("one").acquire(&pool).await.unwrap();
    let lent = AdvisoryLock::new("two").acquire(&locks).await.unwrap();
    in_time(&fixture.database, work(&fixture)).await;
    assert!(!own.is_lost() && !lent.is_lost());
    fixture.database.wait_until_held(2).await;
    own.release().await.unwrap();
    lent.release().await.unwrap();
    fixture.database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn vacuum_removes_rows_that_are_deleted_beside_it() {
    let table = "CREATE TABLE job AS SELECT generate_series(1, 1000) AS id";
    beside_locks(table, async |fixture| {
        fixture.database.execute("DELETE FROM job").await;
        fixture.database.execute("VACUUM job").await;
        let mut direct = fixture.database.connection().await;
        let pages = "SELECT pg_relation_size('job')";
        let pages = scalar::<i64>(&mut direct, pages).await;
        assert_eq!(pages, 0, "the rows are still there");
    })
    .await;
}

#[tokio::test]
async fn an_index_is_created_concurrently_beside_it() {
    let table = "CREATE TABLE job AS SELECT generate_series(1, 1000) AS id";
    beside_locks(table, async |fixture| {
        let create = fixture
            .database
            .execute("CREATE INDEX CONCURRENTLY ON job (id)");
        timeout(Duration::from_mins(1), create).await.unwrap();
    })
    .await;
}

/// The timeouts are shorter than the time that passes under the locks.
#[tokio::test]
async fn no_timeout_of_the_server_ends_it() {
    let set = "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET idle_in_transaction_session_timeout = 100', current_database()); \
               IF current_setting('server_version_num')::int >= 170000 THEN \
               EXECUTE format('ALTER DATABASE %I SET transaction_timeout = 400', current_database()); END IF; END$$";
    beside_locks(set, async |fixture| {
        let mut direct = fixture.database.connection().await;
        direct.execute("SET transaction_timeout = 0").await.ok();
        direct.execute("SELECT pg_sleep(1)").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_default_isolation_level_does_not_matter() {
    let set = "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database()); END$$";
    beside_locks(set, async |fixture| {
        let mut direct = fixture.database.connection().await;
        let snapshots = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                         AND state = 'idle in transaction' AND backend_xmin IS NOT NULL";
        assert_eq!(scalar::<i64>(&mut direct, snapshots).await, 0);
    })
    .await;
}
