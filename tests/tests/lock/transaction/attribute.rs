//! `#[advisory]` on a server: what it locks, when it commits, and when it skips.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, Skipped, advisory, scheme};
use advisory_tests::{Database, WRITE, drop_when, written};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, PgTransaction, Postgres};

/// The held keys, sorted.
async fn held(database: &Database) -> Vec<Key> {
    let mut keys: Vec<_> = database
        .advisory_locks()
        .await
        .into_iter()
        .map(|lock| Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid).unwrap())
        .collect();
    keys.sort();
    keys
}

#[advisory(key = "pool", tx)]
async fn opens(pool: &PgPool, database: &Database, fail: bool) -> Result<i64, sqlx::Error> {
    tx.execute(WRITE).await?;
    assert_eq!(held(database).await, [Key::from("pool")]);
    if fail {
        return Err(sqlx::Error::RowNotFound);
    }
    // Another connection does not see the writes of the transaction yet.
    Ok(written(pool).await)
}

#[tokio::test]
async fn attribute_on_a_pool_commits_on_ok_and_rolls_back_on_err() {
    let (database, pool) = Database::with_table(4).await;
    assert!(matches!(
        opens(&pool, &database, true).await,
        Err(sqlx::Error::RowNotFound)
    ));
    assert_eq!(written(&pool).await, 0);
    assert_eq!(opens(&pool, &database, false).await.unwrap(), 0);
    assert_eq!(written(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

#[advisory(key = 42)]
async fn on_connection(conn: &mut PgConnection, fail: bool) -> Result<bool, Error> {
    conn.execute(WRITE).await?;
    // A transaction that the body begins is a savepoint.
    let mut nested = conn.begin().await?;
    nested.execute(WRITE).await?;
    nested.rollback().await?;
    if fail {
        return Err(Error::NotInTransaction);
    }
    Ok(conn.is_in_transaction())
}

#[tokio::test]
async fn attribute_on_a_connection_opens_a_transaction_or_joins_the_open_one() {
    let (database, pool) = Database::with_table(4).await;
    let mut conn = pool.acquire().await.unwrap();
    assert!(on_connection(&mut conn, false).await.unwrap());
    assert!(!conn.is_in_transaction());
    assert_eq!(written(&pool).await, 1);
    assert!(on_connection(&mut conn, true).await.is_err());
    assert!(!conn.is_in_transaction());
    assert_eq!(written(&pool).await, 1);
    assert!(held(&database).await.is_empty());

    let mut tx = conn.begin().await.unwrap();
    assert!(on_connection(&mut tx, false).await.unwrap());
    assert_eq!(held(&database).await, [Key::BigInt(42)]);
    tx.rollback().await.unwrap();
    assert_eq!(written(&pool).await, 1);
}

#[advisory(key = (1, 7))]
async fn on_pooled(conn: &mut PoolConnection<Postgres>) -> Result<(), Error> {
    let conn: &mut PoolConnection<Postgres> = conn;
    conn.execute(WRITE).await?;
    Ok(())
}

#[tokio::test]
async fn body_gets_the_pooled_connection() {
    let (_database, pool) = Database::with_table(4).await;
    let mut conn = pool.acquire().await.unwrap();
    on_pooled(&mut conn).await.unwrap();
    assert_eq!(written(&pool).await, 1);
    let rival = AdvisoryLock::new((1, 7)).begin(&pool).await.unwrap();
    let refused = pooled_at_once(&mut conn).await.unwrap_err();
    assert!(refused.is_not_acquired(), "{refused}");
    assert!(refused.to_string().contains("held by pid"), "{refused}");
    rival.rollback().await.unwrap();
    pooled_at_once(&mut conn).await.unwrap();
}

#[advisory(key = (1, 7), timeout = 0)]
async fn pooled_at_once(conn: &mut PoolConnection<Postgres>) -> Result<(), Error> {
    conn.execute("SELECT 1").await?;
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Report {
    Done(i64),
    Skipped,
}

impl Skipped for Report {
    fn skipped() -> Self {
        Self::Skipped
    }
}

#[advisory(key = "report", timeout = 0, side_effect = Skip)]
async fn report(pool: &PgPool) -> Result<Report, Error> {
    Ok(Report::Done(written(pool).await))
}

#[advisory(key = "report", timeout = 0.02, side_effect = Skip)]
async fn report_after_a_wait(tx: &mut PgTransaction<'_>) -> Result<Option<i64>, Error> {
    Ok(Some(
        sqlx::query_scalar("SELECT 7::bigint")
            .fetch_one(&mut **tx)
            .await?,
    ))
}

#[advisory(key = "report", timeout = Duration::from_millis(20), side_effect = Skip)]
async fn report_on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    conn.execute(WRITE).await?;
    Ok(())
}

#[advisory(key = "report", timeout = 0.02)]
async fn raises(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.execute(WRITE).await?;
    Ok(())
}

#[tokio::test]
async fn skip_returns_without_running_and_raise_names_the_holder() {
    let (_database, pool) = Database::with_table(4).await;
    let mut conn = pool.acquire().await.unwrap();
    let rival = AdvisoryLock::new("report").begin(&pool).await.unwrap();

    assert_eq!(report(&pool).await.unwrap(), Report::Skipped);
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(report_after_a_wait(&mut tx).await.unwrap(), None);
    tx.execute(WRITE).await.unwrap();
    tx.commit().await.unwrap();
    report_on_connection(&mut conn).await.unwrap();
    let raised = raises(&pool).await.unwrap_err();
    assert!(
        raised.to_string().contains("`report` not acquired"),
        "{raised}"
    );
    assert_eq!(written(&pool).await, 1);

    rival.rollback().await.unwrap();
    assert_eq!(report(&pool).await.unwrap(), Report::Done(1));
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(report_after_a_wait(&mut tx).await.unwrap(), Some(7));
    tx.commit().await.unwrap();
    report_on_connection(&mut conn).await.unwrap();
    raises(&pool).await.unwrap();
    assert_eq!(written(&pool).await, 3);
}

#[advisory(keys = ["account:{from}", "account:{to}"])]
async fn transfer(tx: &mut PgTransaction<'_>, from: i64, to: i64) -> Result<(), Error> {
    tx.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(key = "{name}", scheme = Crc32, shared)]
async fn hashed(tx: &mut PgTransaction<'_>, name: &str) -> Result<(), Error> {
    tx.execute("SELECT 1").await?;
    Ok(())
}

#[advisory(key = format!("github-pr:{}", event.id), tx = lock_tx)]
async fn on_event(pool: &PgPool, event: &Event) -> Result<(), Error> {
    lock_tx.execute(WRITE).await?;
    Ok(())
}

struct Event {
    id: u32,
}

#[advisory]
async fn named_by_its_path(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    tx.execute("SELECT 1").await?;
    Ok(())
}

#[tokio::test]
async fn keys_are_those_of_the_attribute() {
    let (database, pool) = Database::with_table(4).await;
    let mut tx = pool.begin().await.unwrap();
    transfer(&mut tx, 2, 1).await.unwrap();
    let accounts = AdvisoryLock::all(["account:1", "account:2"]);
    assert_eq!(held(&database).await, accounts.keys());
    tx.rollback().await.unwrap();

    let mut tx = pool.begin().await.unwrap();
    hashed(&mut tx, "foo").await.unwrap();
    let lock = &database.advisory_locks().await[0];
    assert_eq!(
        held(&database).await,
        AdvisoryLock::with_scheme("foo", scheme::Crc32).keys()
    );
    assert_eq!(lock.mode, "ShareLock");
    tx.rollback().await.unwrap();

    let mut tx = pool.begin().await.unwrap();
    named_by_its_path(&mut tx).await.unwrap();
    assert_eq!(
        held(&database).await,
        [Key::from("lock::transaction::attribute::named_by_its_path")]
    );
    tx.rollback().await.unwrap();

    on_event(&pool, &Event { id: 7 }).await.unwrap();
    assert_eq!(written(&pool).await, 1);
}

struct Service {
    pool: PgPool,
    runs: AtomicUsize,
}

impl Service {
    #[advisory(key = "service", on = self.pool, tx)]
    async fn run(&self) -> Result<usize, Error> {
        tx.execute(WRITE).await?;
        Ok(self.runs.fetch_add(1, Ordering::SeqCst))
    }

    #[advisory(key = "service", on = self.pool)]
    async fn owned(self: Arc<Self>) -> Result<usize, Error> {
        Ok(self.runs.fetch_add(1, Ordering::SeqCst))
    }
}

#[tokio::test]
async fn methods_run_with_their_lock() {
    let (database, pool) = Database::with_table(4).await;
    let service = Arc::new(Service {
        pool: pool.clone(),
        runs: AtomicUsize::new(0),
    });
    assert_eq!(service.run().await.unwrap(), 0);
    assert_eq!(service.clone().owned().await.unwrap(), 1);
    assert_eq!(written(&pool).await, 1);
    database.assert_nothing_leaked(&pool).await;
}

/// The rollback is sent as soon as the body is dropped, because the connection belongs to the
/// caller and may be idle for hours.
#[tokio::test]
async fn body_dropped_on_a_connection_rolls_back_at_once() {
    #[advisory(key = "idle")]
    async fn idles(conn: &mut PgConnection) -> Result<(), Error> {
        conn.execute(WRITE).await?;
        std::future::pending().await
    }
    let (database, pool) = Database::with_table(4).await;
    let mut conn = database.connection().await;
    let idle = database.wait_until_idle_after(WRITE);
    drop_when(idle, idles(&mut conn)).await;
    database.assert_nothing_leaked(&pool).await;
    conn.execute(WRITE).await.unwrap();
    assert_eq!(written(&pool).await, 1);
}
