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
async fn optional(_tx: Option<&mut PgTransaction<'_>>) -> Result<(), Error> {
    Ok(())
}

#[advisory]
async fn two(_tx: &mut PgTransaction<'_>, _pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

type Db = PgPool;

#[advisory]
async fn alias(db: &Db, id: i64) -> Result<i64, Error> {
    Ok(id + i64::from(db.is_closed()))
}

struct State<T>(T);

#[advisory]
async fn pattern(State(pool): State<PgPool>) -> Result<bool, Error> {
    Ok(pool.is_closed())
}

impl Jobs {
    #[advisory(key = "jobs")]
    async fn method_with_a_pattern(&self, State(main): State<PgPool>) -> Result<bool, Error> {
        Ok(main.is_closed())
    }
}

#[advisory]
async fn two_behind_another_name(reader_db: &Db, writer_db: &Db) -> Result<bool, Error> {
    Ok(reader_db.is_closed() && writer_db.is_closed())
}

fn main() {}
