use std::rc::Rc;

use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory]
async fn local(_pool: &PgPool) -> Result<(), Error> {
    let count = Rc::new(1);
    tokio::task::yield_now().await;
    drop(count);
    Ok(())
}

fn spawned(pool: PgPool) {
    tokio::spawn(async move { local(&pool).await });
}

fn main() {
    let _ = spawned;
}
