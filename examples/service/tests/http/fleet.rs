//! Two instances on one database.

use advisory_core::AdvisoryLock;
use advisory_tests::Database;
use sqlx::{PgPool, PgTransaction};

use crate::instance::Instance;
use crate::term::{Term, wait_until};

pub(crate) struct Fleet {
    pub(crate) database: Database,
    /// The connections of the test.
    pub(crate) pool: PgPool,
    pub(crate) one: Instance,
    pub(crate) two: Instance,
}

impl Fleet {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let database = Database::new().await;
        // Both start at once, so that both try to create the tables.
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

    /// Shuts both instances down gracefully, and asserts that they leave nothing.
    pub(crate) async fn shut_down(self) {
        tokio::join!(self.one.shut_down(), self.two.shut_down());
        assert_nothing_is_left(&self.database, &self.pool).await;
    }
}

/// A fleet with a leader.
pub(crate) struct Led {
    pub(crate) database: Database,
    pub(crate) pool: PgPool,
    pub(crate) leader: Instance,
    pub(crate) other: Instance,
    /// The first term of the leader.
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
        let mut terms = wait_until(&pool, "a leader", |terms| !terms.is_empty()).await;
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

    /// Waits until the other instance leads with a newer fencing token.
    pub(crate) async fn wait_until_other_leads(&self) {
        let newer =
            |term: &Term| term.fence > self.term.fence && term.instance != self.term.instance;
        wait_until(&self.pool, "the other leads", |terms| {
            terms.last().is_some_and(newer)
        })
        .await;
    }
}

/// Asserts that no lock, waiter, transaction or connection is left except the test's connections.
pub(crate) async fn assert_nothing_is_left(database: &Database, pool: &PgPool) {
    database.assert_nothing_leaked(pool).await;
    let is_other = |name: &str| !name.starts_with("one") && !name.starts_with("two");
    database
        .wait_until_backends("no connection of the service", |backends| {
            backends
                .iter()
                .all(|backend| is_other(&backend.application_name))
        })
        .await;
}

/// Takes the lock of delivery 7, as an instance does that processes it.
pub(crate) async fn hold_delivery(pool: &PgPool) -> PgTransaction<'static> {
    let lock = AdvisoryLock::new("webhook:github:7");
    lock.begin(pool).await.unwrap()
}

/// Counts the rows of a delivery.
pub(crate) async fn rows(pool: &PgPool, id: &str) -> i64 {
    let rows = sqlx::query_scalar("SELECT count(*) FROM delivery WHERE id = $1");
    rows.bind(id).fetch_one(pool).await.unwrap()
}
