//! The connection to the pooler fails after any message of a session lock.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Error, LockSession};
use advisory_tests::{Cut, Pooling, Proxy, Side, by_depth};
use futures_util::future::try_join_all;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::fixture::{Fixture, in_time};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// Acquired, watched, given a token, and released.
    OnPool,
    OnLockSession,
    /// Others hold the lock.
    Refused,
    Dropped,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario::OnPool,
    Scenario::OnLockSession,
    Scenario::Refused,
    Scenario::Dropped,
];

impl Scenario {
    async fn run(self, pool: &PgPool) -> Result<(), Error> {
        let lock = AdvisoryLock::new("one")
            .timeout(Duration::from_secs(4))
            .keepalive_interval(Duration::from_millis(100))
            .response_timeout(Duration::from_millis(700));
        match self {
            Self::OnPool => {
                let mut guard = lock.acquire(pool).await?;
                guard.fencing_token().await?;
                guard.until_lost(async {}).await?;
                guard.release().await
            }
            Self::OnLockSession => {
                let guard = lock.acquire(&LockSession::new(pool)).await?;
                guard.fencing_token().await?;
                guard.until_lost(async {}).await?;
                guard.release().await
            }
            Self::Refused => {
                let taken = AdvisoryLock::new(2).try_acquire(pool).await?;
                assert!(taken.is_none(), "two hold the lock");
                Ok(())
            }
            Self::Dropped => {
                drop(lock.acquire(pool).await?);
                Ok(())
            }
        }
    }
}

/// Cuts after the first message, after the second, and so on, until there is no message left.
/// `None` if there is no pooler.
async fn sweep(scenario: Scenario, cut: Cut, side: Side) -> Option<usize> {
    let fixture = Fixture::new(Pooling::Transaction, 6).await?;
    let mut holder = fixture.database.connection().await;
    advisory_core::lock(&mut holder, 2).await.unwrap();
    let proxy = Proxy::start_tcp(&fixture.database.through(fixture.pooler.options()));
    let first = by_depth(6, 1);
    // Each silent connection costs a response timeout.
    let step = by_depth(if cut == Cut::Silence { 18 } else { first }, 1);
    let (mut n, mut points) = (fastrand::usize(1..=first), 0);
    loop {
        let options = PgPoolOptions::new().max_connections(3);
        let options = options.acquire_timeout(Duration::from_secs(10));
        let pool = options.connect_with(proxy.options()).await.unwrap();
        proxy.cut_after(side, n, cut);
        let ended = in_time(&fixture.database, scenario.run(&pool)).await;
        let is_cut = proxy.has_cut();
        proxy.disarm();
        if !is_cut {
            ended.unwrap_or_else(|error| panic!("{scenario:?}: {error}"));
        }
        // The pooler and the server learn of a silent client when its connection is closed.
        proxy.set_silent(false);
        // A probe that was cut may have left a lock on a random key, which the next one finds.
        let lock = AdvisoryLock::new("one");
        let next = in_time(&fixture.database, lock.acquire(&pool)).await;
        let next = next.unwrap_or_else(|error| panic!("{cut:?} after {n} of {side:?}: {error}"));
        next.release().await.unwrap();
        pool.close().await;
        fixture.database.wait_until_held(1).await;
        if !is_cut {
            break;
        }
        n += step;
        points += 1;
    }
    drop(holder);
    let pool = fixture.pooler.pool(3).await;
    fixture.database.assert_nothing_leaked(&pool).await;
    Some(points)
}

async fn sweep_all(cut: Cut) {
    let sweeps = SCENARIOS.into_iter().flat_map(|scenario| {
        [Side::Client, Side::Server].map(|side| tokio::spawn(sweep(scenario, cut, side)))
    });
    let points = try_join_all(sweeps).await.unwrap();
    println!("{cut:?}: {points:?} cuts");
    assert!(
        points.iter().all(|points| *points != Some(0)),
        "a sweep without a cut"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_after_any_message_leaves_nothing_behind() {
    sweep_all(Cut::Fin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_reset_after_any_message_leaves_nothing_behind() {
    sweep_all(Cut::Reset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_silent_after_any_message_leaves_nothing_behind() {
    sweep_all(Cut::Silence).await;
}
