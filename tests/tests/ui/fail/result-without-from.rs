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
async fn skipping(_pool: &PgPool) -> () {}

#[derive(Debug)]
struct BankError;

#[advisory]
async fn own_on_pool(_pool: &PgPool) -> Result<(), BankError> {
    Err(BankError)
}

#[advisory]
async fn own_on_transaction(_tx: &mut PgTransaction<'_>) -> Result<(), BankError> {
    Err(BankError)
}

#[advisory]
async fn own_on_connection(_conn: &mut PgConnection) -> Result<(), BankError> {
    Err(BankError)
}

#[advisory(side_effect = Skip, timeout = 0)]
async fn own_skipping(_pool: &PgPool) -> Result<(), BankError> {
    Err(BankError)
}

fn main() {}
