use advisory_core::{Error, advisory};
use sqlx::PgConnection;

struct Jobs {
    conn: PgConnection,
    name: String,
}

impl Jobs {
    #[advisory(key = "jobs", on = self.name)]
    async fn text(&self) -> Result<(), Error> {
        Ok(())
    }

    #[advisory(key = "jobs", on = self.conn, scope = session)]
    async fn session_of_the_caller(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
