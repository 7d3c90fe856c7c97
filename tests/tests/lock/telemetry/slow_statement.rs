//! A wait for a lock is no slow statement, so sqlx does not log it as one.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Isolation};
use advisory_tests::{Database, Trace, sample};
use advisory_verbs::Verb;
use futures_util::future::try_join_all;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Executor as _};
use tracing::Level;

/// Longer than any statement here takes, and shorter than every wait.
const THRESHOLD: Duration = Duration::from_millis(250);

#[tokio::test]
async fn wait_for_a_lock_is_not_logged_as_a_slow_statement() {
    let warnings = Trace::start(|metadata| {
        metadata.target() == "sqlx::query" && *metadata.level() == Level::WARN
    });
    let database = Database::new().await;
    let options = database.options();
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options.log_slow_statements("warn".parse().unwrap(), THRESHOLD))
        .await
        .unwrap();
    let rival = database.pool(1).await;
    let slow = "SELECT pg_sleep(0.4)";
    pool.execute(slow).await.unwrap();
    assert!(warnings.take().iter().any(|text| text.contains(slow)));

    let cases = cases();
    for cases in cases.chunks(AT_ONCE) {
        let mut held = all(cases).begin(&rival).await.unwrap();
        let asked = cases.iter().map(|(verb, lock)| verb.ask(lock, &pool));
        let mut asked = tokio::spawn(try_join_all(asked));
        tokio::select! {
            () = database.wait_until_waiting(cases.len()) => {}
            asked = &mut asked => panic!("{cases:?} have not waited: {asked:?}"),
        }
        held.execute(slow).await.unwrap();
        held.rollback().await.unwrap();
        let granted = asked.await.unwrap().unwrap();
        assert!(granted.iter().all(|is_granted| *is_granted), "{cases:?}");
        // A busy machine can make any other statement slow.
        let mut warnings = warnings.take();
        warnings.retain(|text| text.contains("pg_advisory"));
        assert_eq!(warnings, [""; 0], "{cases:?}");
        database.wait_until_held(0).await;
    }
    database.assert_nothing_leaked(&pool).await;
}

/// How many wait at the same time. A lock session has as many sessions that wait on the server.
const AT_ONCE: usize = 3;

/// Each verb, with one key and with several, and at a level whose snapshot is taken after the wait.
fn cases() -> Vec<(Verb, AdvisoryLock)> {
    let one = |n: usize| AdvisoryLock::new(format!("one {n}")).wait_forever();
    let several = |n: usize| {
        let keys = [format!("one {n}"), format!("two {n}")];
        AdvisoryLock::all(keys).timeout(Duration::from_mins(1))
    };
    let waits = Verb::all(Verb::can_wait).flat_map(|verb| {
        let locks: [fn(usize) -> AdvisoryLock; 2] = [one, several];
        sample(verb as usize, locks).map(move |lock| (verb, lock))
    });
    let waits = waits.enumerate().map(|(n, (verb, lock))| (verb, lock(n)));
    let mut cases: Vec<_> = waits.collect();
    for verb in Verb::all(Verb::takes_isolation) {
        let lock = one(cases.len()).isolation(Isolation::RepeatableRead);
        cases.push((verb, lock));
    }
    cases
}

fn all(cases: &[(Verb, AdvisoryLock)]) -> AdvisoryLock {
    AdvisoryLock::all(cases.iter().flat_map(|(_, lock)| lock.keys().to_vec()))
}
