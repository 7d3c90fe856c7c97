//! Migration at start-up: each migration runs once, also if others migrate at the same time.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{Error, Key, migrate};
use advisory_tests::{BackendRow, Database, abandon_a_transaction, scalar};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool, SqlSafeStr as _};
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// A migration waits here for the test.
const GATE: Key = Key::IntPair(1, 1);
const POLLS: &str = "polls";
const WAIT_AT_GATE: &str = "SELECT pg_advisory_xact_lock(1, 1)";

/// Migrations that run outside a transaction if they say so in their first line.
fn migrator(statements: &[&'static str]) -> Arc<Migrator> {
    let migrations = statements.iter().zip(1..).map(|(sql, version)| {
        let kind = MigrationType::Simple;
        let no_tx = sql.starts_with("-- no-transaction");
        Migration::new(
            version,
            sql[..sql.len().min(20)].into(),
            kind,
            sql.into_sql_str(),
            no_tx,
        )
    });
    Arc::new(Migrator::with_migrations(migrations.collect()))
}

fn spawn(migrator: &Arc<Migrator>, pool: &PgPool) -> tokio::task::JoinHandle<Result<(), Error>> {
    let (migrator, pool) = (Arc::clone(migrator), pool.clone());
    tokio::spawn(async move { migrate(&migrator, &pool).await })
}

async fn finish(task: tokio::task::JoinHandle<Result<(), Error>>) {
    timeout(HANG_TIMEOUT, task).await.unwrap().unwrap().unwrap();
}

/// A pool of one whose migration is seen to poll.
fn polling_pool(database: &Database) -> PgPool {
    let options = database.options().application_name(POLLS);
    PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options)
}

/// Waits until the connection of such a pool has tried the lock in vain: sqlx ends the use of it
/// with `UNLISTEN *`.
async fn wait_until_polling(database: &Database) {
    let polls = |backend: &BackendRow| {
        backend.application_name == POLLS
            && (backend.query == "UNLISTEN *" || backend.query.contains("pg_try_advisory_lock"))
    };
    database
        .wait_until_backends("a poll", |backends| backends.iter().any(polls))
        .await;
}

#[tokio::test]
async fn pools_that_migrate_at_once_run_each_migration_once() {
    let database = Database::new().await;
    let migrator = migrator(&[
        "CREATE TABLE t (n int)",
        "INSERT INTO t SELECT count(*) FROM t",
        "INSERT INTO t SELECT count(*) FROM t",
    ]);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let pool = database.pool(1).await;
        abandon_a_transaction(&pool, "BEGIN; SELECT 1 / 0").await;
        tasks.push(spawn(&migrator, &pool));
    }
    for task in tasks {
        finish(task).await;
    }
    let pool = database.pool(1).await;
    assert_eq!(scalar::<i64>(&pool, "SELECT sum(n) FROM t").await, 1);
    assert_eq!(
        scalar::<i64>(&pool, "SELECT count(*) FROM _sqlx_migrations").await,
        3
    );
    migrate(&migrator, &pool).await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn failed_migration_is_reported_and_leaves_no_lock() {
    let (database, pool) = Database::with_pool(2).await;
    for (locking, failing) in [
        (true, "SELECT 1/0"),
        (false, "SELECT 1/0"),
        (true, "-- no-transaction\nBEGIN; SELECT 1/0"),
    ] {
        let mut failing = Arc::into_inner(migrator(&["CREATE TABLE t (n int)", failing])).unwrap();
        failing.set_locking(locking);
        let error = migrate(&failing, &pool).await.unwrap_err();
        assert!(error.to_string().contains("division by zero"), "{error}");
        let Error::Database(sqlx::Error::Migrate(error)) = error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(*error, MigrateError::ExecuteMigration(_, 2)),
            "{error:?}"
        );
        database.assert_nothing_leaked(&pool).await;
        // What succeeded before stays, and the next attempt continues after it.
        let corrected = migrator(&["CREATE TABLE t (n int)", "CREATE TABLE u (n int)"]);
        migrate(&corrected, &pool).await.unwrap();
        pool.execute("DROP TABLE t, u, _sqlx_migrations")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn index_is_created_concurrently_while_others_wait() {
    let (database, pool) = Database::with_pool(4).await;
    let gate = advisory_core::AdvisoryLock::new(GATE)
        .acquire(&pool)
        .await
        .unwrap();
    let migrator = migrator(&[
        "CREATE TABLE t (n int)",
        WAIT_AT_GATE,
        "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON t (n)",
    ]);
    let first = spawn(&migrator, &pool);
    database.wait_until_waiting(1).await;
    let second = spawn(&migrator, &polling_pool(&database));
    wait_until_polling(&database).await;
    gate.release().await.unwrap();
    finish(first).await;
    finish(second).await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn sqlx_itself_is_excluded() {
    let (database, pool) = Database::with_pool(4).await;
    let migrator = migrator(&["CREATE TABLE t (n int)", WAIT_AT_GATE]);

    // sqlx waits for us.
    let gate = advisory_core::AdvisoryLock::new(GATE)
        .acquire(&pool)
        .await
        .unwrap();
    let ours = spawn(&migrator, &pool);
    database.wait_until_waiting(1).await;
    let mut conn = database.connection().await;
    let theirs = async { migrator.run(&mut conn).await.unwrap() };
    let release = async {
        database.wait_until_waiting(2).await;
        gate.release().await.unwrap();
    };
    tokio::join!(theirs, release);
    finish(ours).await;

    // We wait for sqlx.
    pool.execute("DROP TABLE t, _sqlx_migrations")
        .await
        .unwrap();
    let gate = advisory_core::AdvisoryLock::new(GATE)
        .acquire(&pool)
        .await
        .unwrap();
    let theirs = async { migrator.run(&mut conn).await.unwrap() };
    let ours = async {
        database.wait_until_waiting(1).await;
        let ours = spawn(&migrator, &polling_pool(&database));
        wait_until_polling(&database).await;
        gate.release().await.unwrap();
        finish(ours).await;
    };
    tokio::join!(theirs, ours);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn dropped_migration_leaves_no_lock() {
    let (database, pool) = Database::with_pool(3).await;
    let gate = advisory_core::AdvisoryLock::new(GATE)
        .acquire(&pool)
        .await
        .unwrap();
    let migrator = migrator(&["CREATE TABLE t (n int)", WAIT_AT_GATE]);
    let task = spawn(&migrator, &pool);
    database.wait_until_waiting(1).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // The statement ends within the time that a release in the background has.
    gate.release().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
    migrate(&migrator, &pool).await.unwrap();
}

/// Dumps of `pg_dump` begin with such a statement.
#[tokio::test]
async fn settings_of_a_migration_end_with_it() {
    let (_database, pool) = Database::with_pool(1).await;
    let migrator = migrator(&[
        "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)",
        "CREATE TABLE public.t (n int)",
    ]);
    let mut migrator = Arc::into_inner(migrator).unwrap();
    migrator.dangerous_set_table_name("public.applied");
    migrate(&migrator, &pool).await.unwrap();
    assert_eq!(
        scalar::<i64>(&pool, "SELECT count(*) FROM applied").await,
        2
    );
}
