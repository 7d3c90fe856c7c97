use advisory_core::advisory;
use sqlx::{PgConnection, PgPool, PgTransaction};

#[advisory]
async fn on_pool(_pool: &PgPool) -> Option<u32> {
    None
}

#[advisory]
async fn on_transaction(_tx: &mut PgTransaction<'_>) -> Vec<u8> {
    Vec::new()
}

#[advisory]
async fn on_connection(_conn: &mut PgConnection) -> bool {
    true
}

#[advisory(side_effect = Skip, timeout = 0)]
async fn skipping(_pool: &PgPool) -> bool {
    true
}

fn main() {}
