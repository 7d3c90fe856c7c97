#![deny(warnings)]

use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(tx)]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {
    let _ = sync;
}
