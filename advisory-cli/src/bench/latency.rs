//! How long one lock takes, alone.

use std::time::{Duration, Instant};

use advisory_core::Error;
use sqlx::postgres::PgPool;

use super::progress::Progress;
use super::sample::{Latency, Samples};
use crate::exit::Failure;
use crate::{chance, sql};

pub(super) async fn measure(
    pool: &PgPool,
    each: Duration,
    progress: &Progress,
) -> Result<Vec<Latency>, Failure> {
    let mut latency = Vec::new();
    progress.begin("round trip");
    latency.push(round_trip(pool, each).await?);
    progress.done();
    progress.begin("transaction lock");
    latency.extend(transaction(pool, each).await?);
    progress.done();
    progress.begin("a lock that is taken");
    latency.push(taken(pool, each).await?);
    progress.done();
    progress.begin("session lock");
    latency.extend(session(pool, each).await?);
    progress.done();
    Ok(latency)
}

async fn round_trip(pool: &PgPool, each: Duration) -> Result<Latency, Failure> {
    let mut conn = pool.acquire().await?;
    sql::round_trip(&mut conn).await?;
    let (start, mut samples) = (Instant::now(), Samples::default());
    while start.elapsed() < each {
        let before = Instant::now();
        sql::round_trip(&mut conn).await?;
        samples.add(before.elapsed());
    }
    Ok(samples.latency("round trip"))
}

async fn transaction(pool: &PgPool, each: Duration) -> Result<[Latency; 2], Failure> {
    let lock = chance::lock("bench");
    // The first one of a pool takes a look at the server.
    lock.begin(pool).await?.commit().await?;
    let (mut begins, mut commits) = (Samples::default(), Samples::default());
    let start = Instant::now();
    while start.elapsed() < each {
        let before = Instant::now();
        let tx = lock.begin(pool).await?;
        begins.add(before.elapsed());
        let before = Instant::now();
        tx.commit().await?;
        commits.add(before.elapsed());
    }
    Ok([
        begins.latency("transaction lock: begin and lock"),
        commits.latency("transaction lock: commit"),
    ])
}

async fn taken(pool: &PgPool, each: Duration) -> Result<Latency, Failure> {
    let lock = chance::lock("bench");
    let holder = lock.begin(pool).await?;
    let (start, mut samples) = (Instant::now(), Samples::default());
    while start.elapsed() < each {
        let before = Instant::now();
        let tx = lock.try_begin(pool).await?;
        samples.add(before.elapsed());
        drop(tx);
    }
    holder.rollback().await?;
    Ok(samples.latency("try a lock that is taken"))
}

async fn session(pool: &PgPool, each: Duration) -> Result<[Latency; 2], Failure> {
    let names = ["session lock: acquire", "session lock: release"];
    let lock = chance::lock("bench");
    match lock.acquire(pool).await {
        Ok(guard) => guard.release().await?,
        Err(Error::Unsupported { what }) => {
            return Ok(names.map(|name| Latency::refused(name, &what)));
        }
        Err(error) => return Err(error.into()),
    }
    let (mut acquires, mut releases) = (Samples::default(), Samples::default());
    let start = Instant::now();
    while start.elapsed() < each {
        let before = Instant::now();
        let guard = lock.acquire(pool).await?;
        acquires.add(before.elapsed());
        let before = Instant::now();
        guard.release().await?;
        releases.add(before.elapsed());
    }
    Ok([acquires.latency(names[0]), releases.latency(names[1])])
}
