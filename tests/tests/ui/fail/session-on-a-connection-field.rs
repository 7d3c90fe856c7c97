use advisory_core::{Error, advisory};

struct Service {
    conn: sqlx::PgConnection,
}

impl Service {
    #[advisory(key = "job", on = self.conn, scope = session)]
    async fn job(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
