//! A pooler that dies under its clients.

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Pooling;
use sqlx::{Executor as _, PgPool, PgTransaction};
use tokio::task::JoinHandle;

use crate::scene::{Cache, Scene, begin, in_time};

/// One that holds a lock, and those that wait for it.
struct Clients {
    holder: PgTransaction<'static>,
    waiting: [JoinHandle<Result<(), Error>>; 3],
}

impl Clients {
    async fn start(scene: &Scene, pool: &PgPool) -> Self {
        let lock = AdvisoryLock::new("one");
        let holder = lock.begin(pool).await.unwrap();
        let waiting = [
            tokio::spawn({
                let (lock, pool) = (lock.clone(), pool.clone());
                async move { lock.begin(&pool).await.map(drop) }
            }),
            tokio::spawn({
                let (lock, pool) = (lock.clone(), pool.clone());
                async move {
                    let body = async |_: &mut PgTransaction<'_>| Ok(());
                    lock.wait_forever().transaction(&pool, body).await
                }
            }),
            tokio::spawn({
                let pool = pool.clone();
                async move {
                    let mut tx = begin(&pool).await?;
                    lock.acquire_xact(&mut tx).await
                }
            }),
        ];
        scene.database.wait_until_waiting(3).await;
        Self { holder, waiting }
    }

    /// Everybody is told, and nobody waits on.
    async fn assert_all_told(mut self) {
        for waiting in self.waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Database(_)), "{error:?}");
        }
        self.holder.execute("SELECT 1").await.unwrap_err();
        self.holder.commit().await.unwrap_err();
    }
}

#[tokio::test]
async fn one_that_is_restarted_cuts_everybody_off_and_serves_again() {
    let Some(scene) = Scene::new(Pooling::Transaction, 4).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = scene.pool(cache, 5).await;
        let clients = Clients::start(&scene, &pool).await;
        scene.pooler.restart();
        in_time(&scene.database, clients.assert_all_told()).await;
        scene.database.assert_nothing_leaked(&pool).await;
        let lock = AdvisoryLock::new("one");
        let acquired = in_time(&scene.database, lock.begin(&pool)).await;
        acquired.unwrap().commit().await.unwrap();
    }
}

#[tokio::test]
async fn one_that_is_gone_is_an_error_and_leaves_the_server_clean() {
    let Some(scene) = Scene::new(Pooling::Transaction, 4).await else {
        return;
    };
    let pool = scene.pool(Cache::Default, 5).await;
    let clients = Clients::start(&scene, &pool).await;
    let Scene { database, pooler } = scene;
    drop(pooler);
    in_time(&database, clients.assert_all_told()).await;
    let direct = database.pool(1).await;
    database.assert_nothing_leaked(&direct).await;
    let lock = AdvisoryLock::new("one");
    let error = in_time(&database, lock.begin(&pool)).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error:?}");
}
