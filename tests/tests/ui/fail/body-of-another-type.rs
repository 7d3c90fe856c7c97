use advisory_core::{Error, advisory};
use sqlx::{PgConnection, PgPool};

#[advisory]
async fn on_pool(_pool: &PgPool) -> Result<u64, Error> {
    Ok("text")
}

#[advisory]
async fn on_connection(_conn: &mut PgConnection, early: bool) -> Result<u64, Error> {
    if early {
        return Ok("text");
    }
    Ok(1)
}

#[advisory]
async fn without_a_tail(_pool: &PgPool) -> Result<(), Error> {
    let _ = Ok::<_, Error>(());
}

fn main() {}
