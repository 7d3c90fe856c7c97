use advisory_core::advisory;
use sqlx::PgPool;

#[advisory(key = "", timeout = -1, side_effect = Return, scheme = "md5", tx = pool)]
fn sync(pool: &PgPool) {}

fn main() {}
