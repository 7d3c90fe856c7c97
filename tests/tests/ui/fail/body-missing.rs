use advisory_core::{Error, advisory};
use sqlx::PgPool;

trait Run {
    #[advisory(key = "run")]
    async fn run(&self, pool: &PgPool) -> Result<(), Error>;
}

fn main() {}
