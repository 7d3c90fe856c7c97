use advisory_core::{Error, advisory};
use sqlx::PgPool;

struct Request {
    id: i64,
}

const SHARD: u8 = 1;

#[advisory(key = "a:{req.id}")]
async fn field(_pool: &PgPool, req: &Request) -> Result<i64, Error> {
    Ok(req.id)
}

#[advisory(keys = ["{{{name}}}:{ids[0]:>4}:{crate::SHARD}", "b"])]
async fn several(_pool: &PgPool, name: &str, ids: &[i64]) -> Result<usize, Error> {
    Ok(name.len() + ids.len() + usize::from(SHARD))
}

#[advisory(key = "{ \"a\", \"b\" }")]
async fn not_an_expression(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = r#"sync("{}")"#)]
async fn without_a_name(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "sync({0:?})")]
async fn by_position(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
