use advisory_core::{Error, advisory};
use sqlx::{PgConnection, PgPool};

struct Jobs {
    conn: PgConnection,
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

    #[advisory(key = "jobs", on = self.conn, scope = session)]
    async fn session_of_the_caller(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
