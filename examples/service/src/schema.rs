//! The tables. The instance that starts first creates them.

use advisory_core::{AdvisoryLock, Error, Periods};
use sqlx::postgres::PgPool;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS delivery (
        provider    text NOT NULL,
        id          text NOT NULL,
        event       jsonb NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (provider, id)
    );
    CREATE TABLE IF NOT EXISTS item (
        tenant bigint NOT NULL,
        value  jsonb NOT NULL
    );
    CREATE TABLE IF NOT EXISTS heartbeat (
        fence    bigint NOT NULL,
        instance text NOT NULL,
        at       timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    CREATE TABLE IF NOT EXISTS leadership (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        fence    bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS report (
        instance   text NOT NULL,
        deliveries bigint NOT NULL,
        at         timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    INSERT INTO leadership (fence) VALUES (0) ON CONFLICT DO NOTHING;
";

/// Creates the tables under a lock. `IF NOT EXISTS` alone is not enough: two sessions that check at
/// the same moment both create the table, and one of them fails.
pub(crate) async fn migrate(pool: &PgPool) -> Result<(), Error> {
    let lock = AdvisoryLock::new("service:schema");
    lock.transaction(pool, async |tx| {
        sqlx::raw_sql(TABLES).execute(&mut **tx).await?;
        Ok::<_, Error>(())
    })
    .await?;
    Periods::create(pool).await
}
