use advisory_core::{Error, advisory};
use sqlx::PgPool;

struct Jobs {
    name: String,
    pools: Vec<PgPool>,
}

impl Jobs {
    #[advisory(key = "jobs", on = self.name)]
    async fn text(&self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "jobs", on = self.pools)]
    async fn pools(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
