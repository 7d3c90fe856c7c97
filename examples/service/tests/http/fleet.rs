//! Two instances on one database.

use advisory_tests::Database;
use sqlx::PgPool;

use crate::instance::Instance;

pub(crate) struct Fleet {
    pub(crate) database: Database,
    /// The test's own.
    pub(crate) pool: PgPool,
    pub(crate) one: Instance,
    pub(crate) two: Instance,
}

impl Fleet {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let database = Database::new().await;
        // At once: each wants to make the tables.
        let (one, two) = tokio::join!(
            Instance::start(&database, "one", arguments),
            Instance::start(&database, "two", arguments),
        );
        Self {
            pool: database.pool(5).await,
            database,
            one,
            two,
        }
    }

    /// Ends both in order, and sees that nothing is left of them.
    pub(crate) async fn end(self) {
        tokio::join!(self.one.end(), self.two.end());
        nothing_is_left(&self.database, &self.pool).await;
    }
}

/// No lock, no place in a queue, no transaction, no connection but the test's own.
pub(crate) async fn nothing_is_left(database: &Database, pool: &PgPool) {
    database.assert_nothing_leaked(pool).await;
    let gone = |name: &str| !name.starts_with("one") && !name.starts_with("two");
    database
        .wait_until_backends("no connection of the service", |backends| {
            backends
                .iter()
                .all(|backend| gone(&backend.application_name))
        })
        .await;
}

/// How many rows there are of a delivery.
pub(crate) async fn rows(pool: &PgPool, id: &str) -> i64 {
    let rows = sqlx::query_scalar("SELECT count(*) FROM delivery WHERE id = $1");
    rows.bind(id).fetch_one(pool).await.unwrap()
}
