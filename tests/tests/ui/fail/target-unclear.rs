use advisory_core::{Error, advisory};
use sqlx::{PgPool, PgTransaction};

struct Jobs {
    _pool: PgPool,
}

impl Jobs {
    #[advisory(key = "jobs")]
    async fn method(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[advisory]
async fn function(_client_id: i64) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn two(_tx: &mut PgTransaction<'_>, _pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

struct State<T>(T);

#[advisory]
async fn pattern(State(pool): State<PgPool>) -> Result<bool, Error> {
    Ok(pool.is_closed())
}

fn main() {}
