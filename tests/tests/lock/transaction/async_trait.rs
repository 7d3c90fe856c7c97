//! `#[advisory]` below `#[async_trait]`, which has turned the function into one that returns a
//! boxed future: the lock is held while that future runs.

use std::pin::Pin;

use advisory_core::{AdvisoryLock, Error, Key, advisory};
use advisory_tests::{Database, WRITE, written};
use async_trait::async_trait;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, PgTransaction};

struct Event(i64);

#[async_trait]
trait Job: Sync {
    fn pool(&self) -> &PgPool;

    async fn on_field(&self, id: i64) -> Result<i64, Error>;
    async fn exclusively(&mut self) -> Result<i64, Error>;
    async fn by_value(self, fail: bool) -> Result<(), Error>;
    async fn on_pool(&self, pool: &PgPool, name: &str) -> Result<(), sqlx::Error>;
    async fn on_own_pool(pool: PgPool) -> Result<i64, Error>;
    async fn in_transaction(&self, tx: &mut PgTransaction<'_>, id: i64) -> Result<(), Error>;
    async fn in_own_transaction(&self, tx: PgTransaction<'_>) -> Result<(), Error>;
    async fn on_connection(&self, conn: &mut PgConnection) -> Result<bool, Error>;
    async fn in_session(&self) -> Result<(), Error>;
    async fn destructured(&self, event: Event, pools: (&PgPool, u8)) -> Result<i64, Error>;
    async fn generic<T: ToString + Send>(&self, tag: T, _: u8) -> Result<T, Error>;

    #[advisory(key = "provided", on = self.pool(), tx)]
    async fn provided(&self) -> Result<i64, Error> {
        Ok(lock_count(&mut **tx).await?)
    }
}

struct Nightly {
    pool: PgPool,
    id: i64,
}

#[async_trait]
impl Job for Nightly {
    fn pool(&self) -> &PgPool {
        &self.pool
    }

    #[advisory(key = "job:{id}", on = self.pool, tx = locked)]
    async fn on_field(&self, id: i64) -> Result<i64, Error> {
        assert_eq!(id, self.id);
        Ok(lock_count(&mut **locked).await?)
    }

    #[advisory(key = format!("job:{}", self.id), on = self.pool)]
    async fn exclusively(&mut self) -> Result<i64, Error> {
        self.id += 1;
        Ok(lock_count(&self.pool).await?)
    }

    #[advisory(key = self.id, on = self.pool, tx)]
    async fn by_value(mut self, fail: bool) -> Result<(), Error> {
        self.id = 0;
        tx.execute(WRITE).await?;
        if fail {
            return Err(Error::NotInTransaction);
        }
        Ok(())
    }

    #[advisory(key = "job:{name}", timeout = 0, side_effect = Skip)]
    async fn on_pool(&self, pool: &PgPool, name: &str) -> Result<(), sqlx::Error> {
        assert!(!name.is_empty());
        pool.execute(WRITE).await?;
        Ok(())
    }

    #[advisory(key = "job", tx)]
    async fn on_own_pool(pool: PgPool) -> Result<i64, Error> {
        drop(pool);
        Ok(lock_count(&mut **tx).await?)
    }

    #[advisory(key = "job:{id}")]
    async fn in_transaction(&self, tx: &mut PgTransaction<'_>, id: i64) -> Result<(), Error> {
        tx.execute(WRITE).await?;
        assert_eq!(id, self.id);
        Ok(())
    }

    #[advisory(key = self.id)]
    async fn in_own_transaction(&self, mut tx: PgTransaction<'_>) -> Result<(), Error> {
        assert_eq!(lock_count(&mut *tx).await?, 1);
        tx.execute(WRITE).await?;
        tx.commit().await?;
        Ok(())
    }

    #[advisory(key = self.id)]
    async fn on_connection(&self, conn: &mut PgConnection) -> Result<bool, Error> {
        conn.execute(WRITE).await?;
        Ok(conn.is_in_transaction())
    }

    #[advisory(key = "session", on = self.pool, scope = session)]
    async fn in_session(&self) -> Result<(), Error> {
        assert_eq!(lock_count(&self.pool).await?, 1);
        Ok(())
    }

    #[advisory(key = "job:{id}", on = pool, tx)]
    async fn destructured(&self, Event(id): Event, (pool, _): (&PgPool, u8)) -> Result<i64, Error> {
        assert!(!pool.is_closed());
        Ok(id + lock_count(&mut **tx).await?)
    }

    #[advisory(key = tag.to_string(), on = self.pool)]
    async fn generic<T: ToString + Send>(&self, tag: T, _: u8) -> Result<T, Error> {
        Ok(tag)
    }
}

async fn lock_count(executor: impl sqlx::PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    let count = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                 WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    sqlx::query_scalar(count).fetch_one(executor).await
}

async fn nightly() -> (Database, Nightly) {
    let (database, pool) = Database::with_table(4).await;
    (database, Nightly { pool, id: 7 })
}

#[tokio::test]
async fn methods_hold_the_lock_while_they_run() {
    let (database, mut job) = nightly().await;
    let pool = job.pool.clone();
    assert_eq!(job.on_field(7).await.unwrap(), 1);
    assert_eq!(job.exclusively().await.unwrap(), 1);
    assert_eq!(Nightly::on_own_pool(pool.clone()).await.unwrap(), 1);
    assert_eq!(job.destructured(Event(5), (&pool, 0)).await.unwrap(), 6);
    assert_eq!(job.generic("tag", 0).await.unwrap(), "tag");
    assert_eq!(job.provided().await.unwrap(), 1);
    job.in_session().await.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn methods_join_the_transaction_of_the_caller() {
    let (database, job) = nightly().await;
    let mut tx = job.pool.begin().await.unwrap();
    job.in_transaction(&mut tx, 7).await.unwrap();
    let lock = &database.advisory_locks().await[0];
    let key = Key::from_pg_locks(lock.classid, lock.objid, lock.objsubid);
    assert_eq!(key, Some(Key::from("job:7")));
    tx.rollback().await.unwrap();
    assert_eq!(written(&job.pool).await, 0);

    let tx = job.pool.begin().await.unwrap();
    job.in_own_transaction(tx).await.unwrap();
    assert_eq!(written(&job.pool).await, 1);
}

#[tokio::test]
async fn methods_commit_on_ok_and_roll_back_on_err() {
    let (_database, job) = nightly().await;
    let pool = job.pool.clone();
    let mut conn = pool.acquire().await.unwrap();
    assert!(job.on_connection(&mut conn).await.unwrap());
    assert!(!conn.is_in_transaction());
    assert_eq!(written(&pool).await, 1);
    let another = Nightly {
        pool: pool.clone(),
        id: 8,
    };
    another.by_value(true).await.unwrap_err();
    assert_eq!(written(&pool).await, 1);
    job.by_value(false).await.unwrap();
    assert_eq!(written(&pool).await, 2);
}

#[tokio::test]
async fn methods_skip() {
    let (_database, job) = nightly().await;
    let rival = AdvisoryLock::new("job:a").begin(&job.pool).await.unwrap();
    job.on_pool(&job.pool, "a").await.unwrap();
    assert_eq!(written(&job.pool).await, 0);
    rival.rollback().await.unwrap();
    job.on_pool(&job.pool, "a").await.unwrap();
    assert_eq!(written(&job.pool).await, 1);
}

/// What `#[async_trait]` writes, written by hand.
#[advisory(key = "boxed")]
fn boxed<'a>(
    conn: &'a mut PgConnection,
) -> Pin<Box<dyn Future<Output = Result<i64, Error>> + Send + 'a>> {
    Box::pin(async move { Ok(lock_count(conn).await?) })
}

#[tokio::test]
async fn lock_is_taken_when_the_future_is_polled() {
    let (database, pool) = Database::with_table(4).await;
    let mut conn = pool.acquire().await.unwrap();
    let future = boxed(&mut conn);
    assert!(database.advisory_locks().await.is_empty());
    assert_eq!(future.await.unwrap(), 1);
    let mut tx = conn.begin().await.unwrap();
    boxed(&mut tx).await.unwrap();
    assert_eq!(database.advisory_locks().await.len(), 1);
}
