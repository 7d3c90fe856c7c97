//! The scenarios of the demo. Each runs the functions of one example.

pub(crate) mod deadlock;
pub(crate) mod readers_writer;
pub(crate) mod singleton_job;
pub(crate) mod transfer;
pub(crate) mod webhook;

use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::timeline::Timeline;

/// The same work in two runs: without the lock and with it.
pub(crate) struct Scenario {
    pub(crate) title: &'static str,
    pub(crate) description: &'static [&'static str],
    pub(crate) runs: [Run; 2],
}

/// One run of a scenario, and the timelines of its workers.
pub(crate) struct Run {
    pub(crate) heading: &'static str,
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) conclusion: String,
}

/// Stands for the work in the body of a function. It makes the bars visible; no result depends on
/// its duration.
async fn work(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

/// The delay before a worker starts, because workers do not all start at the same instant. No
/// result depends on it.
fn start_delay(position: usize) -> Duration {
    Duration::from_millis(6) * u32::try_from(position).expect("BUG: there are few workers")
}

/// Opens all connections of a pool, so that the chart does not include the time to connect.
async fn connect(pool: &PgPool) -> Result<(), sqlx::Error> {
    let count = pool.options().get_max_connections();
    try_join_all((0..count).map(|_| pool.acquire()))
        .await
        .map(drop)
}
