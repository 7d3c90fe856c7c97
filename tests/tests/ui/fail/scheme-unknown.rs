use advisory_core::{Error, Key, KeyScheme, advisory};
use sqlx::PgPool;

#[advisory(scheme = sha256)]
async fn lower_case(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(scheme = DjangoPgLock)]
async fn not_quite_its_name(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(scheme = Pals::application("billing"))]
async fn no_such_function(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

#[advisory(scheme = String::from("md5"))]
async fn not_a_scheme(_pool: &PgPool) -> Result<(), Error> {
    Ok(())
}

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
