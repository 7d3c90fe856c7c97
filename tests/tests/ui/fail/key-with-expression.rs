use advisory_core::{Error, advisory};
use sqlx::PgPool;

struct Request {
    id: i64,
}

#[advisory(key = "a:{req.id}")]
async fn field(_pool: &PgPool, req: &Request) -> Result<i64, Error> {
    Ok(req.id)
}

#[advisory(key = "{ \"a\", \"b\" }")]
async fn not_an_expression(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = r#"sync("{}")"#)]
async fn without_a_name(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
