//! `lead` and `every`: a transaction holds the lock, on a backend that the pooler lends to it.

use std::cell::RefCell;
use std::time::Duration;

use advisory_core::{
    AdvisoryLock, Error, LockSession, Periods, SessionSource, Term, UnsupportedReason, advisory,
};
use advisory_tests::{Pooling, another_pool, by_depth, is_ever};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool, PgTransaction};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fixture::{Cache, Fixture, in_time};

fn lock() -> AdvisoryLock {
    AdvisoryLock::new("leader")
        .polling(Duration::from_millis(20))
        .keepalive_interval(Duration::from_millis(200))
        .response_timeout(Duration::from_secs(1))
}

/// An instance that reports the number of each of its terms, and leads until it is dropped.
async fn report<S: SessionSource>(sessions: &S, terms: &mpsc::UnboundedSender<i64>) -> Error {
    let lock = lock();
    let led = lock.lead(sessions, async |term: Term| {
        let _ = terms.send(term.number());
        std::future::pending::<Result<(), Error>>().await
    });
    Box::pin(led).await.expect_err("the body never returns")
}

/// A leader loses its backend, and then its pooler, and leads again each time.
async fn assert_leads_again<S: SessionSource>(fixture: &Fixture, sessions: &S) {
    let (terms, mut numbers) = mpsc::unbounded_channel();
    let story = async {
        let mut last = numbers.recv().await.unwrap();
        for is_restart in [false, true, false] {
            fixture.database.wait_until_held(1).await;
            if is_restart {
                fixture.pooler.restart();
            } else {
                fixture.database.terminate_lockers().await;
            }
            let next = numbers.recv().await.unwrap();
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    };
    let led = Box::pin(async {
        tokio::select! {
            error = report(sessions, &terms) => panic!("{error}"),
            () = story => {}
        }
    });
    in_time(&fixture.database, led).await;
}

#[tokio::test]
async fn a_leader_that_loses_its_backend_or_its_pooler_leads_again() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    for cache in [Cache::Default, Cache::Off] {
        let pool = fixture.pool(cache, 2).await;
        assert_leads_again(&fixture, &pool).await;
        let locks = LockSession::new(&pool);
        assert_leads_again(&fixture, &locks).await;
        locks.close().await;
        fixture.database.assert_nothing_leaked(&pool).await;
    }
}

/// PgBouncer answers as if its server were away.
#[tokio::test]
async fn a_database_that_is_missing_behind_the_pooler_is_an_error() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 2).await else {
        return;
    };
    // PgBouncer asks its server for the same database again after some seconds only.
    let [one, other] = ["missing", "missing_too"].map(|name| {
        let options = fixture.pooler.options().database(name);
        PgPoolOptions::new().connect_lazy_with(options)
    });
    let lock = lock();
    let led = lock.lead(&one, async |_| Ok::<_, Error>(()));
    let error = in_time(&fixture.database, led).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let locks = LockSession::new(&other);
    let led = lock.lead(&locks, async |_| Ok::<_, Error>(()));
    let error = in_time(&fixture.database, led).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// What a failover looks like for a moment is a wrong configuration when it lasts. In short depth,
/// it is not waited for.
#[tokio::test]
async fn a_pooler_in_statement_mode_is_an_error_in_the_end() {
    let Some(fixture) = Fixture::new(Pooling::Statement, 2).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 2).await;
    let lock = lock();
    let led = lock.lead(&pool, async |_| Ok::<_, Error>(()));
    let short = by_depth(Some(Duration::from_secs(1)), None);
    let led = timeout(short.unwrap_or(Duration::MAX), led);
    match in_time(&fixture.database, led).await {
        Ok(led) => {
            let reason = UnsupportedReason::UnfitPool;
            let error = led.unwrap_err();
            assert!(
                matches!(&error, Error::Unsupported { reason: found, .. } if *found == reason),
                "{error}"
            );
        }
        Err(_) => assert!(short.is_some(), "it never ends"),
    }
}

/// An instance that leads until eight terms have been served, by either of two.
async fn serve<S: SessionSource>(name: &str, sessions: &S, terms: &RefCell<Vec<(i64, String)>>) {
    let lock = lock();
    let led = lock.lead(sessions, async |term: Term| {
        terms.borrow_mut().push((term.number(), name.to_owned()));
        if terms.borrow().len() < 8 {
            term.resign();
        }
        Ok::<_, Error>(())
    });
    Box::pin(led).await.unwrap();
}

#[tokio::test]
async fn two_instances_that_resign_lead_in_turns() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 4).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 2).await;
    let other = LockSession::new(&another_pool(&pool));
    let in_turns = async || {
        let terms = RefCell::default();
        in_time(&fixture.database, async {
            tokio::select! {
                () = serve("one", &pool, &terms) => {}
                () = serve("two", &other, &terms) => {}
            }
        })
        .await;
        let terms = terms.into_inner();
        assert!(terms.is_sorted_by(|a, b| a.0 < b.0), "{terms:?}");
        terms[2..].windows(2).all(|pair| pair[0].1 != pair[1].1)
    };
    // On a busy machine, the other one may not ask in time.
    assert!(is_ever(in_turns).await);
    other.close().await;
    fixture.database.assert_nothing_leaked(&pool).await;
}

/// Longer than the test takes: every moment of it is in one of at most two such periods.
const LONG: Duration = Duration::from_hours(24 * 365);

#[advisory(key = "{name}", every = LONG, tx)]
async fn inside(pool: &PgPool, name: &str) -> Result<Option<()>, Error> {
    tx.execute(sqlx::raw_sql("INSERT INTO work VALUES (1)"))
        .await?;
    Ok(Some(()))
}

#[advisory(key = "{name}", every = LONG, scope = session)]
async fn in_session(pool: &PgPool, name: &str) -> Result<Option<()>, Error> {
    pool.execute(sqlx::raw_sql("INSERT INTO work VALUES (1)"))
        .await?;
    Ok(Some(()))
}

/// Runs the job in every scope, each time as a job of its own. Whether each has run.
async fn run_in_each_scope(pool: &PgPool) -> Result<[bool; 6], Error> {
    let job = |name| AdvisoryLock::new(name).every(LONG);
    let work = async |tx: &mut PgTransaction<'_>| {
        tx.execute(sqlx::raw_sql("INSERT INTO work VALUES (1)"))
            .await?;
        Ok::<_, Error>(())
    };
    let by_hand = AdvisoryLock::new("by hand");
    let mut guard = by_hand.acquire(pool).await?;
    let run = job("by hand").begin_run(&mut guard).await?;
    if let Some(fence) = run {
        pool.execute(sqlx::raw_sql("INSERT INTO work VALUES (1)"))
            .await?;
        job("by hand").finish_run(&mut guard, fence).await?;
    }
    guard.release().await?;
    let locks = LockSession::new(pool);
    let on_session = job("on a LockSession");
    let on_session = on_session.session(&locks, async |_| {
        pool.execute(sqlx::raw_sql("INSERT INTO work VALUES (1)"))
            .await?;
        Ok::<_, Error>(())
    });
    let on_session = on_session.await?;
    locks.close().await;
    let mut tx = advisory_verbs::begin(pool).await?;
    let in_callers = job("acquire_xact").acquire_xact(&mut tx).await?;
    if in_callers {
        work(&mut tx).await?;
    }
    tx.commit().await?;
    Ok([
        run.is_some(),
        on_session.is_some(),
        in_callers,
        job("transaction").transaction(pool, work).await?.is_some(),
        inside(pool, "inside").await?.is_some(),
        in_session(pool, "in a session").await?.is_some(),
    ])
}

#[tokio::test]
async fn a_job_runs_once_in_a_period_in_every_scope() {
    let Some(fixture) = Fixture::new(Pooling::Transaction, 3).await else {
        return;
    };
    let pool = fixture.pool(Cache::Default, 4).await;
    Periods::create(&pool).await.unwrap();
    let table = "CREATE TABLE work (id int)";
    pool.execute(sqlx::raw_sql(table)).await.unwrap();
    for (cache, expected) in [
        (Cache::Default, true),
        (Cache::Default, false),
        (Cache::Off, false),
    ] {
        let pool = fixture.pool(cache, 4).await;
        let ran = in_time(&fixture.database, run_in_each_scope(&pool)).await;
        assert_eq!(ran.unwrap(), [expected; 6]);
        fixture.database.assert_nothing_leaked(&pool).await;
    }
    let direct = fixture.database.pool(1).await;
    let work: i64 = advisory_tests::scalar(&direct, "SELECT count(*) FROM work").await;
    assert_eq!(work, 6);
}
