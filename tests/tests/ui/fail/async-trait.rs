use advisory_core::{Error, advisory};
use async_trait::async_trait;
use sqlx::{PgConnection, PgPool, PgTransaction};

struct Job;

#[async_trait]
trait Run {
    async fn without_a_result(&self, pool: &PgPool);
    async fn without_a_key(&self, pool: &PgPool) -> Result<(), Error>;
    async fn without_a_target(&self, id: i64) -> Result<(), Error>;
    async fn on_another_type(&self, conn: &mut PgConnection, id: f64) -> Result<(), Error>;
    async fn with_another_error(&self, tx: &mut PgTransaction<'_>) -> Result<(), std::fmt::Error>;
}

#[async_trait]
impl Run for Job {
    #[advisory(key = "run")]
    async fn without_a_result(&self, _pool: &PgPool) {}

    #[advisory]
    async fn without_a_key(&self, _pool: &PgPool) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "run")]
    async fn without_a_target(&self, id: i64) -> Result<(), Error> {
        assert_eq!(id, 1);
        Ok(())
    }

    #[advisory(key = id)]
    async fn on_another_type(&self, _conn: &mut PgConnection, id: f64) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "run")]
    async fn with_another_error(&self, _tx: &mut PgTransaction<'_>) -> Result<(), std::fmt::Error> {
        Ok(())
    }
}

fn main() {}
