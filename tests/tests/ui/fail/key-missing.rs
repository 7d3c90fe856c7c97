use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[derive(Clone)]
struct Jobs {
    pool: PgPool,
}

impl Jobs {
    #[advisory(on = self.pool)]
    async fn method(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
