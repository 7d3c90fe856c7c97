//! `on` takes any expression for a place; the compiler finds out what it is.

use std::sync::Arc;

use advisory_core::{Error, advisory};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, PgTransaction, Postgres};

struct Jobs {
    pool: PgPool,
    shared: Arc<PgPool>,
    calls: u32,
}

impl Jobs {
    #[advisory(key = "jobs", on = self.pool)]
    async fn by_reference(&self) -> Result<u32, Error> {
        Ok(self.calls)
    }

    #[advisory(key = format!("jobs:{}", self.calls), on = self.shared)]
    async fn exclusively(&mut self) -> Result<u32, Error> {
        self.calls += 1;
        Ok(self.calls)
    }

    #[advisory(key = "jobs", on = &self.pool)]
    async fn by_value(self) -> Result<Self, Error> {
        Ok(self)
    }

    #[advisory(key = "jobs", on = self.pool)]
    async fn by_arc(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        Ok(self)
    }

    #[advisory(key = "jobs", on = self.pool(), tx)]
    async fn in_the_transaction(&mut self, calls: u32) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(&mut **tx).await?;
        self.calls += calls;
        Ok(())
    }

    #[advisory(key = "jobs", on = self.cloned(), tx = locked)]
    async fn on_a_temporary(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(&mut **locked).await?;
        Ok(())
    }

    #[advisory(key = format!("jobs:{}", self.calls), on = self.exclusive_pool())]
    async fn on_what_borrows_all_of_it(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn exclusive_pool(&mut self) -> &mut PgPool {
        &mut self.pool
    }

    fn pool(&self) -> &PgPool {
        &self.pool
    }

    fn cloned(&self) -> PgPool {
        self.pool.clone()
    }
}

struct Sharded {
    pools: Vec<PgPool>,
    jobs: Arc<Jobs>,
    shared: Arc<PgPool>,
}

impl Sharded {
    #[advisory(key = "shard:{shard}", on = self.pools[shard], tx)]
    async fn on_an_element(&self, shard: usize) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(&mut **tx).await?;
        Ok(())
    }

    #[advisory(key = "sharded", on = self.jobs().pool)]
    async fn on_a_field_of_a_call(&self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "sharded", on = *self.shared)]
    async fn on_a_dereference(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn jobs(&self) -> &Jobs {
        &self.jobs
    }
}

struct Wrapper(PgPool);

impl std::ops::Deref for Wrapper {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.0
    }
}

impl Wrapper {
    #[advisory(key = "wrapper", on = self)]
    async fn on_what_derefs_to_a_pool(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[advisory(on = pool)]
async fn on_a_generic_pointer<P: std::ops::Deref<Target = PgPool>>(pool: P) -> Result<(), Error> {
    pool.close().await;
    Ok(())
}

struct Unit<'c> {
    tx: PgTransaction<'c>,
}

impl Unit<'_> {
    #[advisory(key = "unit", on = self.tx)]
    async fn run(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1").execute(&mut *self.tx).await?;
        Ok(())
    }
}

struct Session<'c> {
    conn: &'c mut PgConnection,
    shared: Arc<tokio::sync::Mutex<PgConnection>>,
    pooled: PoolConnection<Postgres>,
}

impl Session<'_> {
    #[advisory(key = "session", on = self.conn)]
    async fn around_plain(&mut self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "session", on = self.pooled)]
    async fn around_pooled(&mut self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "session", on = self.shared.lock().await)]
    async fn around_guarded(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct State<T>(T);

#[advisory(on = pool)]
async fn in_a_pattern(State(pool): State<PgPool>) -> Result<(), Error> {
    pool.close().await;
    Ok(())
}

type Database = PgPool;

#[advisory(on = database)]
async fn under_an_alias(database: &Database) -> Result<(), Error> {
    database.close().await;
    Ok(())
}

#[advisory(on = pool.as_ref())]
async fn under_a_trait(pool: impl AsRef<PgPool>) -> Result<(), Error> {
    pool.as_ref().close().await;
    Ok(())
}

#[advisory(on = first)]
async fn of_two(first: &PgPool, second: &PgPool) -> Result<bool, Error> {
    Ok(first.is_closed() && second.is_closed())
}
