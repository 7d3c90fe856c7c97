//! Permits behind the pooler: the wait for a slot is one message.

use std::sync::Arc;
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Pooling;
use advisory_verbs::{Scope, Sections, Verb};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::fixture::{Cache, Fixture, backend, in_time};

const PERMITS: u32 = 3;

#[tokio::test]
async fn permits_are_counted_and_waited_for_behind_the_pooler() {
    for cache in [Cache::Default, Cache::Off] {
        let Some(fixture) = Fixture::new(Pooling::Transaction, 8).await else {
            return;
        };
        let lock = AdvisoryLock::new("export").permits(PERMITS);
        let lock = lock.timeout(Duration::from_mins(1));
        let slots: Vec<_> = (1..=PERMITS).map(|n| lock.keys()[0].slot(n)).collect();
        let inside = Arc::new((Sections::new(lock.keys().iter().copied()), fixture));
        let pool = inside.1.pool(cache, 12).await;
        let in_transaction = |verb: &Verb| {
            let scopes = [Scope::NewTransaction, Scope::CallerTransaction];
            verb.is_of_lock() && scopes.contains(&verb.scope())
        };
        let mut tasks = JoinSet::new();
        for verb in Verb::ALL
            .into_iter()
            .filter(in_transaction)
            .cycle()
            .take(40)
        {
            let (inside, locked, slots) = (inside.clone(), lock.clone(), slots.clone());
            tasks.spawn(verb.run::<Error>(&lock, &pool, move |held| {
                Box::pin(async move {
                    let (sections, fixture) = &*inside;
                    let _inside = sections.enter(&locked);
                    sleep(Duration::from_millis(2)).await;
                    if let Some(conn) = held {
                        let pid = backend(conn).await?;
                        let held = fixture.held_by(pid).await;
                        assert!(held.len() == 1 && slots.contains(&held[0].0), "{held:?}");
                    }
                    Ok(())
                })
            }));
        }
        let done = in_time(&inside.1.database, tasks.join_all()).await;
        assert!(done.into_iter().all(|acquired| acquired.unwrap()));
        inside.1.database.assert_nothing_leaked(&pool).await;
    }
}
