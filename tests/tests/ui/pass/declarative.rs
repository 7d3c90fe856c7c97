//! The attribute inside a `macro_rules!`.

use advisory_core::{Error, advisory};

macro_rules! job {
    ($name:ident, $key:literal, $timeout:literal, $keys:expr, $pool:ty, $body:block) => {
        mod $name {
            use super::*;

            #[advisory(key = $key, timeout = $timeout)]
            async fn one(pool: $pool) -> Result<(), Error> $body

            #[advisory(keys = $keys, tx)]
            async fn several(pool: $pool) -> Result<(), sqlx::Error> {
                sqlx::query("SELECT 1").execute(&mut **tx).await.map(drop)
            }
        }
    };
}

job!(nightly, "night", 2, ["a", "b"], &sqlx::PgPool, { Ok(()) });
