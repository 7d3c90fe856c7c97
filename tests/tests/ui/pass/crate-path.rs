//! The library under another path.

use sqlx::PgPool;

mod locks {
    pub(crate) use advisory_core::*;
}

#[locks::advisory(crate = "advisory_core")]
async fn as_text(pool: &PgPool) -> Result<(), locks::Error> {
    Ok(())
}

#[locks::advisory(key = "a", scheme = Md5, crate = self::locks, tx)]
async fn as_a_path(pool: &PgPool) -> Result<(), locks::Error> {
    let _: &mut sqlx::PgTransaction<'_> = tx;
    Ok(())
}

#[locks::advisory(key = "a", scheme = DjangoPglock, crate = self::locks)]
async fn of_another_system(pool: &PgPool) -> Result<(), locks::Error> {
    Ok(())
}

#[locks::advisory(key = "a", scheme = River::prefixed(7), crate = locks)]
async fn with_an_argument(pool: &PgPool) -> Result<(), locks::Error> {
    Ok(())
}
