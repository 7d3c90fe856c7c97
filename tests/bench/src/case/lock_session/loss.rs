//! From the end of a session to the moment when all its guards report the loss.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, LockSession, LockSessionGuard};
use advisory_tests::Database;
use futures_util::future::{join_all, try_join_all};
use sqlx::{PgConnection, PgPool};

use crate::Bench;
use crate::comparison::nanoseconds;
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Target};
use crate::sample::{Nanoseconds, Sample};

const GUARDS: i64 = 50;

pub(super) async fn measure(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let pool = Endpoint(database.options()).lazy_pool();
    let mut outside = database.connection().await;
    let mut sample = Sample::default();
    for round in 0..bench.effort.rounds {
        bench.set_progress(&format!("lock session, loss: round {}", round + 1));
        let took = lose(&pool, &mut outside).await;
        sample.push(vec![nanoseconds(took)]);
    }
    let text = format!(
        "When a session with {GUARDS} locks ends, all its guards report it after {} (median; p99 {}).",
        Nanoseconds(sample.median()),
        Nanoseconds(sample.p99()),
    );
    let what = format!("loss of a session until its {GUARDS} guards report it, median");
    let median = sample.median() / 1e6;
    let target = Target::at_most(what, 50.0, median, " ms");
    Part::text("lock-session-loss", text).with_targets(vec![target])
}

/// Terminates a session that holds many locks, and waits until each guard reports the loss.
async fn lose(pool: &PgPool, outside: &mut PgConnection) -> Duration {
    let locks = LockSession::new(pool);
    let guards = (0..GUARDS).map(async |key| AdvisoryLock::new(key).acquire(&locks).await);
    let guards = try_join_all(guards).await.expect("the locks are free");
    let lost = guards.iter().map(LockSessionGuard::lost);
    let lost = tokio::spawn(join_all(lost.collect::<Vec<_>>()));
    let start = Instant::now();
    let terminate = "SELECT pg_terminate_backend(pid) FROM \
                     (SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory') AS holder";
    let terminated = sqlx::query(terminate).execute(outside).await;
    terminated.expect("a superuser may terminate it");
    lost.await.expect("waiting does not fail");
    start.elapsed()
}
