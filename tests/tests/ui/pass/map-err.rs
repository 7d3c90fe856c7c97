//! Error types of other crates, which cannot implement `From<advisory_core::Error>`.

use std::io;

use advisory_core::{Error, advisory};
use sqlx::{PgConnection, PgPool, PgTransaction};

fn lock_error(error: Error) -> io::Error {
    io::Error::other(error)
}

#[advisory(key = "a", map_err = lock_error, tx)]
async fn on_pool(pool: &PgPool) -> io::Result<u8> {
    let _ = tx;
    Err(io::ErrorKind::NotFound.into())
}

#[advisory(key = "a", map_err = |error| io::Error::other(error.to_string()))]
async fn outside(pool: &PgPool) -> Result<(), io::Error> {
    Ok(())
}

#[advisory(key = "a", map_err = io::Error::other)]
async fn on_transaction(tx: &mut PgTransaction<'_>) -> io::Result<()> {
    Ok(())
}

#[advisory(key = "a", map_err = lock_error, timeout = 0, side_effect = Skip)]
async fn on_connection(conn: &mut PgConnection) -> io::Result<Option<u8>> {
    Ok(Some(1))
}

#[advisory(key = "a", map_err = lock_error, scope = session, timeout = 0, side_effect = Skip)]
async fn in_session(pool: &PgPool) -> io::Result<()> {
    Ok(())
}
