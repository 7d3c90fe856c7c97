//! Two instances on one database.

use advisory_tests::Database;
use sqlx::PgPool;

use crate::instance::Instance;
use crate::term::{Term, until};

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

/// A fleet with a leader.
pub(crate) struct Led {
    pub(crate) database: Database,
    pub(crate) pool: PgPool,
    pub(crate) leader: Instance,
    pub(crate) other: Instance,
    /// The leader's first.
    pub(crate) term: Term,
}

impl Led {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let Fleet {
            database,
            pool,
            one,
            two,
        } = Fleet::start(arguments).await;
        let mut terms = until(&pool, "a leader", |terms| !terms.is_empty()).await;
        let term = terms.remove(0);
        let (leader, other) = match &*term.instance {
            "one" => (one, two),
            _ => (two, one),
        };
        Self {
            database,
            pool,
            leader,
            other,
            term,
        }
    }

    /// Waits until the other leads, under a newer token.
    pub(crate) async fn until_other_leads(&self) {
        let newer =
            |term: &Term| term.fence > self.term.fence && term.instance != self.term.instance;
        until(&self.pool, "the other leads", |terms| {
            terms.last().is_some_and(newer)
        })
        .await;
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
