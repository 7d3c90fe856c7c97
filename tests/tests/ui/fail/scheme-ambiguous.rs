use advisory_core::{Error, Key, KeyScheme, advisory};
use sqlx::PgPool;

/// The library has a scheme of this name as well.
struct Malkuth;

impl KeyScheme for Malkuth {
    fn key(&self, _name: &str) -> Key {
        Key::from(7)
    }
}

#[advisory(scheme = Malkuth)]
async fn whose(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(scheme = self::Malkuth)]
async fn mine(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

fn main() {}
