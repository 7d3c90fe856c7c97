//! Counting the round trips of workloads with a proxy.

use std::time::Duration;

use advisory_tests::{Database, Proxy};
use sqlx::PgPool;
use tokio::time::sleep;

use crate::comparison::Workload;
use crate::endpoint::Endpoint;

/// How often each workload runs.
const TIMES: u32 = 8;

/// The round trips of each workload, without the pings of the pool. The workloads are those of the
/// measurement, but through the proxy. Round trips in the background are counted as well.
pub(crate) async fn count(proxy: &Proxy, workloads: &mut [Workload]) -> Vec<Option<f64>> {
    let mut counted = Vec::new();
    for workload in workloads {
        workload.run(TIMES as usize).await;
        pause().await;
        proxy.reset();
        workload.run(TIMES as usize).await;
        pause().await;
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let spent = proxy.round_trips() as f64;
        counted.push(Some(spent / f64::from(TIMES)));
    }
    counted
}

/// Waits until returned connections are idle in their pool.
async fn pause() {
    sleep(Duration::from_millis(20)).await;
}

/// A proxy, and its endpoint.
pub(crate) async fn counting_proxy(database: &Database) -> (Proxy, Endpoint) {
    let proxy = Proxy::start(database).await;
    let endpoint = Endpoint(proxy.options());
    (proxy, endpoint)
}

/// A proxy, a pool through it, and a pool without it.
pub(crate) async fn counted_and_direct(database: &Database) -> (Proxy, PgPool, PgPool) {
    let (proxy, counted) = counting_proxy(database).await;
    let direct = Endpoint(database.options());
    (proxy, counted.pool().await, direct.pool().await)
}
