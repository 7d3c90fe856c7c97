use std::pin::Pin;

use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory]
fn calls<'a>(pool: &'a PgPool) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
    Box::pin(run(pool))
}

#[advisory]
fn prepares<'a>(pool: &'a PgPool) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
    let pool = pool.clone();
    Box::pin(async move { run(&pool).await })
}

async fn run(pool: &PgPool) -> Result<(), Error> {
    assert!(!pool.is_closed());
    Ok(())
}

fn main() {}
