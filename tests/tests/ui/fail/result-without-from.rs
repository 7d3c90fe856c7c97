use advisory_core::advisory;
use sqlx::{PgConnection, PgPool};

#[advisory]
async fn on_pool(_pool: &PgPool) -> Option<u32> {
    None
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
async fn own_on_connection(_conn: &mut PgConnection) -> Result<(), BankError> {
    Err(BankError)
}

#[advisory(side_effect = Skip, timeout = 0)]
async fn own_skipping(_pool: &PgPool) -> Result<(), BankError> {
    Err(BankError)
}

fn main() {}
