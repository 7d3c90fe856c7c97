use advisory_core::{Error, advisory};
use sqlx::{PgConnection, PgTransaction};

#[advisory(tx)]
async fn on_transaction(tx: &mut PgTransaction<'_>) -> Result<(), Error> {
    let _ = tx;
    Ok(())
}

#[advisory(tx = locked)]
async fn on_connection(conn: &mut PgConnection) -> Result<(), Error> {
    let _ = (conn, locked);
    Ok(())
}

struct Session {
    conn: PgConnection,
}

impl Session {
    #[advisory(key = "session", on = self.conn, tx)]
    async fn on_place(&mut self) -> Result<(), Error> {
        let _ = tx;
        Ok(())
    }
}

fn main() {}
