//! Who leads, and since when, as others see it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use advisory_core::monitor::{self, LeaderWatch};
use advisory_core::{Error, LockSession};
use advisory_tests::{Database, another_pool};
use futures_util::StreamExt as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgPool};

use super::{ends, lock};

/// A pool whose sessions have this name.
async fn named(database: &Database, name: &str) -> PgPool {
    let options = database.options().application_name(name);
    let pool = PgPoolOptions::new().max_connections(2);
    pool.connect_with(options).await.unwrap()
}

#[tokio::test]
async fn the_leader_is_named_and_the_age_of_its_term_is_known() {
    let (database, pool) = Database::with_pool(2).await;
    assert!(monitor::leader(&pool, "leader").await.unwrap().is_none());
    let instance = named(&database, "one").await;
    let lock = lock().tag_session();
    let led = lock.lead(&instance, async |_| {
        let first = monitor::leader(&pool, "leader").await?.unwrap();
        assert_eq!(first.tag().as_deref(), Some("leader"));
        assert!(first.application_name.unwrap().starts_with("one "));
        assert_eq!(first.user.as_deref(), Some("postgres"));
        let age = first.term_age.unwrap();
        assert!(first.session_age.unwrap() >= age);
        // The probes of the session change nothing.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let later = monitor::leader(&pool, "leader").await?.unwrap();
        assert_eq!(later.pid, first.pid);
        assert!(later.term_age.unwrap() >= age + Duration::from_millis(500));
        Ok::<_, Error>(())
    });
    ends(led).await.unwrap();
    assert!(monitor::leader(&pool, "leader").await.unwrap().is_none());
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn the_age_of_a_term_on_a_shared_session_is_not_guessed() {
    let (database, pool) = Database::with_pool(2).await;
    let locks = LockSession::new(&pool);
    let lock = lock();
    let led = lock.lead(&locks, async |_| {
        let leader = monitor::leader(&pool, "leader").await?.unwrap();
        assert_eq!(leader.term_age, None);
        assert!(leader.session_age.is_some() && leader.pid > 0);
        Ok::<_, Error>(())
    });
    ends(led).await.unwrap();
    locks.close().await;
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_watch_yields_each_change_once() {
    let (database, pool) = Database::with_pool(3).await;
    let (one, two) = (named(&database, "one").await, named(&database, "two").await);
    let lock = lock();
    let mut watch = LeaderWatch::new(&pool, "leader").interval(Duration::from_millis(5));
    assert!(ends(watch.changed()).await.unwrap().is_none());
    for instance in [&one, &two, &one] {
        let name = instance
            .connect_options()
            .get_application_name()
            .map(ToOwned::to_owned);
        let seen = tokio::sync::Notify::new();
        let led = lock.lead(instance, async |_| {
            seen.notified().await;
            Ok::<_, Error>(())
        });
        let story = async {
            let leader = watch.changed().await.unwrap().unwrap();
            assert_eq!(leader.application_name, name);
            let again = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
            assert!(again.is_err(), "it yields a term once");
            seen.notify_one();
        };
        let (led, ()) = ends(async { tokio::join!(led, story) }).await;
        led.unwrap();
        assert!(ends(watch.next()).await.unwrap().unwrap().is_none());
    }
    database.assert_nothing_leaked(&pool).await;
}

/// The connections that ask need not have the same settings.
#[tokio::test]
async fn a_watch_yields_a_term_once_whatever_its_sessions_are_set_to() {
    let (database, pool) = Database::with_pool(3).await;
    let number = AtomicU32::new(0);
    let watched = PgPoolOptions::new().max_connections(2).min_connections(2);
    let watched = watched.after_connect(move |conn, _| {
        let hours = number.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let zone = AssertSqlSafe(format!("SET TIME ZONE {hours}"));
            conn.execute(zone).await.map(drop)
        })
    });
    let watched = watched.connect_with(database.options()).await.unwrap();
    let mut watch = LeaderWatch::new(&watched, "leader").interval(Duration::from_millis(5));
    assert!(ends(watch.changed()).await.unwrap().is_none());
    let lock = lock();
    let seen = tokio::sync::Notify::new();
    let led = lock.lead(&pool, async |_| {
        seen.notified().await;
        Ok::<_, Error>(())
    });
    let story = async {
        assert!(watch.changed().await.unwrap().is_some());
        let again = tokio::time::timeout(Duration::from_millis(300), watch.changed()).await;
        assert!(again.is_err(), "it yields a term once: {again:?}");
        seen.notify_one();
    };
    let (led, ()) = ends(async { tokio::join!(led, story) }).await;
    led.unwrap();
    database.assert_nothing_leaked(&pool).await;
}

#[tokio::test]
async fn a_watch_survives_errors() {
    let (database, pool) = Database::with_pool(1).await;
    let closed = another_pool(&pool);
    closed.close().await;
    let mut watch = LeaderWatch::new(&closed, "leader").interval(Duration::from_millis(5));
    ends(watch.changed()).await.unwrap_err();
    let again = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
    assert!(again.is_err(), "it yields an error once");
    database.assert_nothing_leaked(&pool).await;
}
