use advisory_core::{Error, advisory};

struct PgPool;

#[advisory]
async fn pool(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

struct PgTransaction;

#[advisory]
async fn transaction(_tx: &mut PgTransaction) -> Result<(), Error> {
    Ok(())
}

fn main() {}
