use advisory_core::{Error, advisory};
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

fn main() {}
