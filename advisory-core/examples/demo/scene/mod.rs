//! The scenes of the tour: each runs the functions of one example.

pub(crate) mod deadlock;
pub(crate) mod readers_writer;
pub(crate) mod singleton_job;
pub(crate) mod transfer;
pub(crate) mod webhook;

use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::PgPool;
use tokio::time::sleep;

use crate::lane::Lane;

/// What is to be seen, without and with the lock.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    pub(crate) story: &'static [&'static str],
    pub(crate) acts: [Act; 2],
}

/// One half of a scene.
pub(crate) struct Act {
    pub(crate) heading: &'static str,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) moral: String,
}

/// Stands for what the body of a function does. It is there to be seen: no outcome hangs on it.
async fn work(milliseconds: u64) {
    sleep(Duration::from_millis(milliseconds)).await;
}

/// Workers do not all arrive in the same instant. No outcome hangs on this either.
fn arrival(position: usize) -> Duration {
    Duration::from_millis(6) * u32::try_from(position).expect("BUG: few workers")
}

/// Connects all of a pool, lest the drawing show how long that takes.
async fn connect(pool: &PgPool) -> Result<(), sqlx::Error> {
    let count = pool.options().get_max_connections();
    try_join_all((0..count).map(|_| pool.acquire()))
        .await
        .map(drop)
}
