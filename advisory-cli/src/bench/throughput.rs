//! How many locks per second several connections take together.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use serde::Serialize;
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;

use super::progress::Progress;
use crate::exit::Failure;
use crate::random_key;

/// Transaction locks that are begun and committed.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) work: &'static str,
    pub(super) connections: u32,
    pub(super) locks_per_second: f64,
}

pub(super) async fn measure(
    pool: &PgPool,
    connections: u32,
    time: Duration,
    progress: &Progress,
) -> Result<Vec<Throughput>, Failure> {
    // A hand-over needs two connections.
    let hand_over_connections = connections.max(2);
    open(pool, hand_over_connections).await?;
    let locks = (0..connections)
        .map(|_| random_key::lock("bench"))
        .collect();
    let distinct = throughput(pool, "each on a key of its own", locks, time);
    let distinct = progress.show("locks per second", distinct).await?;
    let locks = vec![random_key::lock("bench"); hand_over_connections as usize];
    let hand_over = throughput(pool, "all on one key, from hand to hand", locks, time);
    let hand_over = progress.show("hand-over", hand_over).await?;
    Ok(vec![distinct, hand_over])
}

/// Opens the connections before the measurement.
async fn open(pool: &PgPool, connections: u32) -> Result<(), Failure> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(pool.acquire().await?);
    }
    Ok(())
}

async fn throughput(
    pool: &PgPool,
    work: &'static str,
    locks: Vec<AdvisoryLock>,
    time: Duration,
) -> Result<Throughput, Failure> {
    let connections = u32::try_from(locks.len()).unwrap_or(u32::MAX);
    let (start, mut clients) = (Instant::now(), JoinSet::new());
    for lock in locks {
        clients.spawn(lock_until(start + time, pool.clone(), lock));
    }
    let mut count = 0;
    while let Some(client) = clients.join_next().await {
        count += client.map_err(Failure::other)??;
    }
    let locks_per_second = (f64::from(count) / start.elapsed().as_secs_f64()).round();
    Ok(Throughput {
        work,
        connections,
        locks_per_second,
    })
}

/// Takes a lock again and again, and returns how often.
async fn lock_until(end: Instant, pool: PgPool, lock: AdvisoryLock) -> Result<u32, Error> {
    let mut count = 0;
    while Instant::now() < end {
        lock.begin(&pool).await?.commit().await?;
        count += 1;
    }
    Ok(count)
}
