//! A pooler that is killed while clients are connected.

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::{Pooling, another_pool};
use advisory_verbs::Verb;
use sqlx::{Executor as _, PgPool, PgTransaction};
use tokio::task::JoinHandle;

use super::fixture::{Cache, Fixture, in_time};

/// A client that holds a lock, and three that wait for it.
struct Clients {
    holder: PgTransaction<'static>,
    waiting: [JoinHandle<Result<bool, Error>>; 3],
}

impl Clients {
    async fn start(fixture: &Fixture, pool: &PgPool) -> Self {
        let lock = AdvisoryLock::new("one");
        let holder = lock.begin(pool).await.unwrap();
        let waiting = [Verb::Begin, Verb::AttributeInside, Verb::AcquireXact];
        let waiting = waiting.map(|verb| tokio::spawn(verb.ask(&lock, &another_pool(pool))));
        fixture.database.wait_until_waiting(3).await;
        Self { holder, waiting }
    }

    /// Asserts that every client gets an error.
    async fn assert_all_get_an_error(mut self) {
        for waiting in self.waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Database(_)), "{error:?}");
        }
        self.holder.execute("SELECT 1").await.unwrap_err();
        self.holder.commit().await.unwrap_err();
    }
}

#[tokio::test]
async fn restarted_pooler_drops_all_clients_and_works_again() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 5).await;
        let clients = Clients::start(&fixture, &pool).await;
        fixture.pooler.restart();
        in_time(&fixture.database, clients.assert_all_get_an_error()).await;
        fixture.database.assert_nothing_leaked(&pool).await;
        let lock = AdvisoryLock::new("one");
        let acquired = in_time(&fixture.database, lock.begin(&pool)).await;
        acquired.unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn ended_pooler_is_an_error_and_leaves_nothing_on_the_server() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 5).await;
    let clients = Clients::start(&fixture, &pool).await;
    let Fixture { database, pooler } = fixture;
    drop(pooler);
    in_time(&database, clients.assert_all_get_an_error()).await;
    database.assert_nothing_left().await;
    let lock = AdvisoryLock::new("one");
    let error = in_time(&database, lock.begin(&pool)).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
}
