use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(lock_id = "sync")]
async fn sync(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "sync", wait = duration::<u8, u16>(1, 2), "text", side_effct = Skip)]
async fn several(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
