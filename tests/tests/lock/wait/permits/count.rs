//! How many hold the lock at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, Key, UnsupportedReason};
use advisory_tests::{Database, LockRow};
use advisory_verbs::{Scope, Verb};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{lock, own_key, queueing, take};

#[tokio::test]
async fn one_try_takes_one_slot() {
    let (database, pool) = Database::with_pool(12).await;
    let mut held = Vec::new();
    for taken in 1..=10 {
        held.push(lock(10).try_begin(&pool).await.unwrap().unwrap());
        assert_eq!(database.advisory_locks().await.len(), taken);
    }
    assert!(lock(10).try_begin(&pool).await.unwrap().is_none());
    assert_eq!(database.advisory_locks().await.len(), 10);
    drop(held);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn every_verb_counts_the_holders_of_all_scopes() {
    let (database, pool) = Database::with_pool(8).await;
    let rivals = database.pool(8).await;
    for verb in Verb::all(Verb::is_of_lock) {
        let mut held = take(3, 3, &rivals).await;
        let refused = lock(3).timeout(Duration::ZERO);
        let error = verb.assert_refused(&refused, &pool).await;
        if let Some(Error::NotAcquired { holders, lock, .. }) = error {
            assert_eq!((holders.len(), lock.permits()), (3, 3), "{verb}");
        }
        let short = lock(3).timeout(Duration::from_millis(30));
        verb.assert_refused(&short, &pool).await;
        held.pop().unwrap().rollback().await.unwrap();
        let again = verb.ask(&refused, &pool).await;
        assert!(matches!(again, Ok(true)), "{verb}: {again:?}");
        let (begun, done) = (tokio::sync::Barrier::new(2), tokio::sync::Barrier::new(2));
        let (begun, done) = (Arc::new(begun), Arc::new(done));
        let work = {
            let (begun, done) = (begun.clone(), done.clone());
            async move {
                begun.wait().await;
                done.wait().await;
            }
        };
        let holder =
            tokio::spawn(verb.hold(&lock(3).timeout(Duration::from_secs(20)), &pool, work));
        begun.wait().await;
        assert!(
            lock(3).try_begin(&rivals).await.unwrap().is_none(),
            "{verb}"
        );
        done.wait().await;
        assert!(holder.await.unwrap().unwrap(), "{verb}");
        drop(held);
        database.assert_nothing_leaked(&pool).await;
    }
}

#[tokio::test]
async fn one_permit_is_the_lock_itself() {
    let (_database, pool) = Database::with_pool(4).await;
    let tx = lock(1).begin(&pool).await.unwrap();
    assert!(
        AdvisoryLock::new("export")
            .try_begin(&pool)
            .await
            .unwrap()
            .is_none()
    );
    tx.rollback().await.unwrap();
    let tx = AdvisoryLock::new("export").begin(&pool).await.unwrap();
    assert!(lock(1).try_begin(&pool).await.unwrap().is_none());
    // Of two permits, the lock itself is one.
    let other = lock(2).try_begin(&pool).await.unwrap();
    assert!(other.is_some());
    assert!(lock(2).try_begin(&pool).await.unwrap().is_none());
    drop((tx, other));
}

#[tokio::test]
async fn a_smaller_number_shares_the_slots_of_a_larger_one() {
    let (database, pool) = Database::with_pool(12).await;
    let five = take(5, 5, &pool).await;
    let more = Vec::from_iter([
        lock(10).try_begin(&pool).await.unwrap().unwrap(),
        lock(10).try_begin(&pool).await.unwrap().unwrap(),
    ]);
    assert!(lock(5).try_begin(&pool).await.unwrap().is_none());
    drop((five, more));
    database.assert_nothing_leaked(&pool).await;
    let ten = take(10, 10, &pool).await;
    assert!(lock(5).try_begin(&pool).await.unwrap().is_none());
    drop(ten);
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn every_verb_refuses_what_cannot_be_counted() {
    let (database, pool) = Database::with_pool(3).await;
    let wrong = [
        lock(0),
        lock(1_001),
        lock(u32::MAX),
        lock(2).shared(),
        AdvisoryLock::all(["a", "b"]).permits(2),
    ];
    for verb in Verb::all(Verb::is_of_lock) {
        for lock in &wrong {
            let error = verb.ask(lock, &pool).await.unwrap_err();
            let reason = match error {
                Error::Unsupported { reason, .. } => reason,
                other => panic!("{verb}, {lock:?}: {other:?}"),
            };
            assert!(
                matches!(reason, UnsupportedReason::Permits { .. }),
                "{verb}: {reason:?}"
            );
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_thousand_permits_and_pairs_work_in_every_scope() {
    let (database, pool) = Database::with_pool(4).await;
    for verb in Verb::all(Verb::is_of_lock) {
        for lock in [
            lock(1_000),
            AdvisoryLock::new((7, 42)).permits(3),
            AdvisoryLock::new((i32::MIN, i32::MIN)).permits(50),
        ] {
            let lock = lock.timeout(Duration::from_secs(20));
            assert!(verb.ask(&lock, &pool).await.unwrap(), "{verb}, {lock:?}");
        }
    }
    database.assert_nothing_leaked(&pool).await;
}

/// Tasks that are inside, and the most there ever were.
#[derive(Default)]
struct Inside {
    now: AtomicU32,
    most: AtomicU32,
}

impl Inside {
    async fn work(self: Arc<Self>, time: Duration) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        sleep(time).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Each pool is that of an instance with a number of permits of its own. Returns the most tasks
/// that were inside at once.
async fn crowd(scopes: &[Scope], instances: &[(PgPool, u32)], tasks: usize, work: Duration) -> u32 {
    let inside = Arc::new(Inside::default());
    let verbs: Vec<_> = Verb::all(Verb::is_of_lock)
        .filter(|verb| scopes.contains(&verb.scope()))
        .collect();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let verb = verbs[task / instances.len() % verbs.len()];
        let (pool, permits) = &instances[task % instances.len()];
        let lock = lock(*permits).timeout(Duration::from_mins(1));
        running.spawn(verb.hold(&lock, pool, inside.clone().work(work)));
    }
    for granted in running.join_all().await {
        assert!(matches!(granted, Ok(true)), "{scopes:?}: {granted:?}");
    }
    inside.most.load(Ordering::SeqCst)
}

const EVERY_SCOPE: [Scope; 5] = [
    Scope::NewTransaction,
    Scope::Session,
    Scope::CallerTransaction,
    Scope::CallerConnection,
    Scope::LockSession,
];

/// Two instances of a service.
async fn instances(database: &Database, permits: [u32; 2]) -> [(PgPool, u32); 2] {
    let [one, other] = permits;
    [
        (database.pool(20).await, one),
        (database.pool(20).await, other),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_never_exceeds_the_permits_and_uses_all_of_them() {
    let database = Database::new().await;
    let instances = instances(&database, [3, 3]).await;
    for scopes in [
        &[Scope::NewTransaction][..],
        &[Scope::Session],
        &[Scope::CallerTransaction, Scope::CallerConnection],
        &[Scope::LockSession],
        &EVERY_SCOPE,
    ] {
        let most = crowd(scopes, &instances, 80, Duration::from_millis(2)).await;
        assert_eq!(most, 3, "{scopes:?}");
    }
    for (pool, _) in &instances {
        database.assert_nothing_leaked(pool).await;
    }
}

/// A rolling deploy: old instances let ten in, new ones five, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_changes_the_number_never_exceeds_the_larger_one_and_serves_everybody() {
    let database = Database::new().await;
    for permits in [[10, 5], [5, 10]] {
        let both = instances(&database, permits).await;
        // So long that all who may be inside are.
        let work = Duration::from_millis(50);
        let most = crowd(&EVERY_SCOPE, &both, 120, work).await;
        assert!((6..=10).contains(&most), "{most} at once");
        let new = &both[1..];
        let most = crowd(&EVERY_SCOPE, new, 60, work).await;
        assert!(most <= new[0].1, "{most} at once with the new number alone");
        for (pool, _) in &both {
            database.assert_nothing_leaked(pool).await;
        }
    }
}

/// Those who queue wait for the permits that their own number gives them.
#[tokio::test]
async fn a_deploy_that_lowers_the_number_leaves_no_waiter_behind_permits_it_does_not_have() {
    let database = Database::new().await;
    let old = database.pool(10).await;
    let new = database.pool(8).await;
    // Ten old holders, of which those of the first five slots end.
    let mut held = take(10, 10, &old).await;
    for verb in Verb::all(Verb::is_of_lock) {
        let mut waiters = JoinSet::new();
        for queueing in [5, 10] {
            let lock = lock(queueing).timeout(Duration::from_mins(1));
            waiters.spawn(verb.hold(&lock, &new, async {}));
        }
        let somebody = |locks: &[LockRow]| queueing(locks) > 0;
        database.wait_until_locks("a queue", somebody).await;
        let slots: Vec<_> = (1..=5)
            .map(|number| lock(5).keys()[0].slot(number))
            .collect();
        let mut kept = Vec::new();
        for mut tx in held {
            let own: Key = own_key(&mut tx).await;
            if slots.contains(&own) {
                tx.rollback().await.unwrap();
            } else {
                kept.push(tx);
            }
        }
        assert_eq!(kept.len(), 5, "{verb}");
        for granted in waiters.join_all().await {
            assert!(granted.unwrap(), "{verb}");
        }
        kept.extend(take(5, 10, &old).await);
        held = kept;
    }
    drop(held);
    database.assert_nothing_leaked(&new).await;
}
