use advisory_core::{Error, advisory};
use sqlx::PgPool;

#[advisory(key = id)]
async fn key<K: Copy>(_pool: &PgPool, id: K) -> Result<(), Error> {
    Ok(())
}

#[advisory(keys = ids)]
async fn keys<K: Clone>(_pool: &PgPool, ids: &[K]) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = name, scheme = Md5)]
async fn name<K>(_pool: &PgPool, name: K) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a", scheme = scheme)]
async fn scheme<S>(_pool: &PgPool, scheme: S) -> Result<(), Error> {
    Ok(())
}

#[advisory(key = "a")]
async fn error<E>(_pool: &PgPool) -> Result<(), E> {
    Ok(())
}

#[advisory(key = "a")]
async fn output<T: Default>(_pool: &PgPool) -> T {
    T::default()
}

#[advisory(key = "a", timeout = 0, side_effect = Skip)]
async fn skipped<T: Default>(_pool: &PgPool) -> Result<T, Error> {
    Ok(T::default())
}

#[advisory(key = "a", timeout = 0, side_effect = Skip)]
async fn skipped_output<T: Default>(_pool: &PgPool) -> T {
    T::default()
}

#[advisory(key = "a", map_err = map_err)]
async fn map_err<F>(_pool: &PgPool, map_err: F) -> Result<(), std::fmt::Error> {
    Ok(())
}

fn main() {}
