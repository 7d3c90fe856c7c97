//! The clients that need no process of their own: SQL expressions and sqlx.

use advisory_core::Key;
use advisory_tests::{Database, Server};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, PgConnection};
use sqlx::{AssertSqlSafe, Either, PgPool, Postgres};

use crate::oracle::LockClient;

/// A SQL expression that computes the key of the name `$1`.
pub(crate) struct Sql {
    what: &'static str,
    key: String,
    connection: PgConnection,
}

impl Sql {
    pub(crate) async fn new(what: &'static str, key: &str, database: &Database) -> Self {
        Self {
            what,
            key: key.to_owned(),
            connection: database.connection().await,
        }
    }

    async fn call(&mut self, function: &str, name: &str) -> bool {
        let call = format!("SELECT {function}({})", self.key);
        let answer = sqlx::query_scalar(AssertSqlSafe(call)).bind(name);
        answer.fetch_one(&mut self.connection).await.unwrap()
    }
}

impl LockClient for Sql {
    fn describe(&self) -> String {
        format!("{} (PostgreSQL {})", self.what, Server::shared().version())
    }

    async fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        Ok(self.call("pg_try_advisory_lock", name).await)
    }

    async fn free(&mut self, name: &str) {
        assert!(self.call("pg_advisory_unlock", name).await);
    }

    async fn keys(&mut self, names: &[String]) -> Vec<Key> {
        let key = self.key.replace("$1", "name");
        let all = format!("SELECT ({key})::bigint FROM unnest($1::text[]) AS t (name)");
        let keys = sqlx::query_scalar(AssertSqlSafe(all)).bind(names);
        let keys: Vec<i64> = keys.fetch_all(&mut self.connection).await.unwrap();
        keys.into_iter().map(Key::BigInt).collect()
    }
}

/// sqlx's `PgAdvisoryLock::new`.
pub(crate) struct Sqlx {
    pool: PgPool,
    held: Option<PgAdvisoryLockGuard<PoolConnection<Postgres>>>,
}

impl Sqlx {
    pub(crate) async fn new(database: &Database) -> Self {
        Self {
            pool: database.pool(1).await,
            held: None,
        }
    }
}

impl LockClient for Sqlx {
    fn describe(&self) -> String {
        "sqlx `PgAdvisoryLock` (Rust, the version in Cargo.lock)".into()
    }

    async fn try_lock(&mut self, name: &str) -> Result<bool, String> {
        let connection = self.pool.acquire().await.unwrap();
        let got = PgAdvisoryLock::new(name).try_acquire(connection).await;
        self.held = match got.unwrap() {
            Either::Left(guard) => Some(guard),
            Either::Right(_) => None,
        };
        Ok(self.held.is_some())
    }

    async fn free(&mut self, _name: &str) {
        let guard = self.held.take().expect("it is held");
        guard.release_now().await.unwrap();
    }

    async fn keys(&mut self, names: &[String]) -> Vec<Key> {
        let key = |name| Key::from(PgAdvisoryLock::new(name).key().clone());
        names.iter().map(key).collect()
    }
}
