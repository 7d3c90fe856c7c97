use advisory_core::advisory;
use sqlx::PgPool;

#[advisory]
async fn sync(_pool: &PgPool) {}

fn main() {}
