//! How many locks a second, together.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use serde::Serialize;
use sqlx::postgres::PgPool;
use tokio::task::JoinSet;

use super::progress::Progress;
use crate::chance;
use crate::exit::{Code, Failure};

/// Transaction locks, begun and committed.
#[derive(Debug, Serialize)]
pub(super) struct Throughput {
    pub(super) work: &'static str,
    pub(super) connections: u32,
    pub(super) locks_per_second: f64,
}

pub(super) async fn measure(
    pool: &PgPool,
    connections: u32,
    each: Duration,
    progress: &Progress,
) -> Result<Vec<Throughput>, Failure> {
    connect(pool, connections).await?;
    progress.begin("locks per second");
    let distinct = (0..connections).map(|_| chance::lock("bench")).collect();
    let distinct = throughput(pool, "each on a key of its own", distinct, each).await?;
    progress.done();
    progress.begin("hand-over");
    // One has nobody to hand it over to.
    let one = chance::lock("bench");
    let one = vec![one; connections.max(2) as usize];
    let one = throughput(pool, "all on one key, from hand to hand", one, each).await?;
    progress.done();
    Ok(vec![distinct, one])
}

/// Opens the connections before the time runs.
async fn connect(pool: &PgPool, connections: u32) -> Result<(), Failure> {
    let mut open = Vec::new();
    for _ in 0..connections.max(2) {
        open.push(pool.acquire().await?);
    }
    Ok(())
}

async fn throughput(
    pool: &PgPool,
    work: &'static str,
    locks: Vec<AdvisoryLock>,
    each: Duration,
) -> Result<Throughput, Failure> {
    let connections = u32::try_from(locks.len()).unwrap_or(u32::MAX);
    let (start, mut clients) = (Instant::now(), JoinSet::new());
    for lock in locks {
        clients.spawn(client(pool.clone(), lock, start + each));
    }
    let mut count = 0;
    while let Some(client) = clients.join_next().await {
        count += client.map_err(|error| Failure::new(Code::Failure, error))??;
    }
    let locks_per_second = (f64::from(count) / start.elapsed().as_secs_f64()).round();
    Ok(Throughput {
        work,
        connections,
        locks_per_second,
    })
}

/// How many locks it has had.
async fn client(pool: PgPool, lock: AdvisoryLock, end: Instant) -> Result<u32, Error> {
    let mut count = 0;
    while Instant::now() < end {
        lock.begin(&pool).await?.commit().await?;
        count += 1;
    }
    Ok(count)
}
