use advisory_core::{Error, advisory};
use sqlx::PgPool;

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

struct Jobs;

impl Jobs {
    #[advisory(key = "jobs")]
    async fn method(&self, State(main): State<PgPool>) -> Result<bool, Error> {
        Ok(main.is_closed())
    }
}

#[advisory]
async fn two(reader_db: &Db, writer_db: &Db) -> Result<bool, Error> {
    Ok(reader_db.is_closed() && writer_db.is_closed())
}

fn main() {}
