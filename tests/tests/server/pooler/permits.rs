//! Permits behind the pooler: the wait for a slot is one message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, LockSession};
use advisory_tests::Pooling;
use advisory_verbs::{Scope, Sections, Verb, holders, with_holders};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fixture::{Cache, Fixture, backend, in_time, key};

const PERMITS: u32 = 3;

/// A lock with several permits, and its slots.
fn export() -> (AdvisoryLock, Vec<Key>) {
    let lock = AdvisoryLock::new("export").permits(PERMITS);
    let slots = (1..=PERMITS).map(|n| lock.keys()[0].slot(n)).collect();
    (lock.timeout(Duration::from_mins(1)), slots)
}

#[tokio::test]
async fn permits_are_counted_and_waited_for_behind_the_pooler() {
    for cache in [Cache::Default, Cache::Off] {
        let Some(fixture) = Fixture::new(Pooling::Transaction, 8).await else {
            return;
        };
        let (lock, slots) = export();
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

/// An idle transaction holds a permit, in the scopes of a session too.
#[tokio::test]
async fn permits_are_counted_in_sessions_behind_the_pooler() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 8).await else {
        return;
    };
    let (lock, slots) = export();
    let inside = Arc::new((Sections::new(lock.keys().iter().copied()), fixture));
    let pool = inside.1.pool(Cache::Default, 12).await;
    let verbs: Vec<_> = Verb::ALL
        .into_iter()
        .filter(|verb| {
            let scopes = [Scope::Session, Scope::LockSession, Scope::NewTransaction];
            verb.is_of_lock() && scopes.contains(&verb.scope())
        })
        .collect();
    let most = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for verb in verbs.iter().cycle().take(60) {
        let (inside, locked, slots) = (inside.clone(), lock.clone(), slots.clone());
        let most = most.clone();
        tasks.spawn(verb.run::<Error>(&lock, &pool, move |_| {
            Box::pin(async move {
                let (sections, fixture) = &*inside;
                let _inside = sections.enter(&locked);
                let rows = fixture.database.advisory_locks().await;
                let held = rows.iter().filter(|row| row.granted);
                let held = held.filter(|row| slots.contains(&key(row))).count();
                assert!((1..=slots.len()).contains(&held), "{rows:?}");
                most.fetch_max(held, Ordering::SeqCst);
                sleep(Duration::from_millis(2)).await;
                Ok(())
            })
        }));
    }
    let done = in_time(&inside.1.database, tasks.join_all()).await;
    assert!(done.into_iter().all(|acquired| acquired.unwrap()));
    assert_eq!(most.load(Ordering::SeqCst), slots.len());
    inside.1.database.assert_nothing_leaked(&pool).await;
}

/// A permit of a session that is held by a transaction is refused to others, named as held, and
/// free with its release.
#[tokio::test]
async fn a_session_takes_and_releases_one_permit_behind_the_pooler() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 8).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 8).await;
    let locks = LockSession::new(&pool);
    let lock = AdvisoryLock::new("export").permits(2);
    let now = lock.clone().timeout(Duration::ZERO);
    let of_pool = in_time(&fixture.database, lock.acquire(&pool)).await;
    let of_session = in_time(&fixture.database, lock.acquire(&locks)).await;
    let (of_pool, of_session) = (of_pool.unwrap(), of_session.unwrap());
    for refused in [
        with_holders(async || now.acquire(&pool).await.map(drop)).await,
        with_holders(async || now.acquire(&locks).await.map(drop)).await,
    ] {
        assert_eq!(holders(&refused.unwrap_err()).len(), 2);
    }
    of_pool.release().await.unwrap();
    in_time(&fixture.database, lock.acquire(&locks))
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    of_session.release().await.unwrap();
    locks.close().await;
    fixture.database.assert_nothing_leaked(&pool).await;
}
