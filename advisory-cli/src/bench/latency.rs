//! How long a lock takes if nothing else runs.

use std::time::{Duration, Instant};

use advisory_core::Error;
use serde::Serialize;
use sqlx::postgres::PgPool;

use super::progress::Progress;
use crate::exit::Failure;
use crate::{random_key, sql};

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) work: &'static str,
    /// The number of samples.
    pub(super) count: usize,
    /// `None` if the server refuses the work.
    pub(super) median_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Why the server refuses the work.
    pub(super) refused: Option<String>,
}

/// The times that the repetitions of one work took.
#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    async fn time<T>(&mut self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.0.push(start.elapsed());
        result
    }

    fn latency(mut self, work: &'static str) -> Latency {
        self.0.sort_unstable();
        Latency {
            work,
            count: self.0.len(),
            median_us: self.percentile(50),
            p99_us: self.percentile(99),
            refused: None,
        }
    }

    /// The percentile of the sorted samples, in microseconds with one decimal.
    fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100);
        let sample = self.0.get(rank.saturating_sub(1))?;
        Some((sample.as_secs_f64() * 1e7).round() / 10.0)
    }
}

pub(super) async fn measure(
    pool: &PgPool,
    time: Duration,
    progress: &Progress,
) -> Result<Vec<Latency>, Failure> {
    let round_trip = progress.show("round trip", round_trip(pool, time));
    let mut latency = vec![round_trip.await?];
    let transaction = progress.show("transaction lock", transaction(pool, time));
    latency.extend(transaction.await?);
    let taken = progress.show("a lock that is taken", taken(pool, time));
    latency.push(taken.await?);
    let session = progress.show("session lock", session(pool, time));
    latency.extend(session.await?);
    Ok(latency)
}

async fn round_trip(pool: &PgPool, time: Duration) -> Result<Latency, Failure> {
    let mut conn = pool.acquire().await?;
    sql::round_trip(&mut conn).await?;
    let mut samples = Samples::default();
    let start = Instant::now();
    while start.elapsed() < time {
        samples.time(sql::round_trip(&mut conn)).await?;
    }
    Ok(samples.latency("round trip"))
}

async fn transaction(pool: &PgPool, time: Duration) -> Result<[Latency; 2], Failure> {
    let lock = random_key::lock("bench");
    // The first lock of a pool includes the library's probe of the server.
    lock.begin(pool).await?.commit().await?;
    let (mut begins, mut commits) = (Samples::default(), Samples::default());
    let start = Instant::now();
    while start.elapsed() < time {
        let tx = begins.time(lock.begin(pool)).await?;
        commits.time(tx.commit()).await?;
    }
    Ok([
        begins.latency("transaction lock: begin and lock"),
        commits.latency("transaction lock: commit"),
    ])
}

async fn taken(pool: &PgPool, time: Duration) -> Result<Latency, Failure> {
    let lock = random_key::lock("bench");
    let holder = lock.begin(pool).await?;
    let mut samples = Samples::default();
    let start = Instant::now();
    while start.elapsed() < time {
        samples.time(lock.try_begin(pool)).await?;
    }
    holder.rollback().await?;
    Ok(samples.latency("try a lock that is taken"))
}

async fn session(pool: &PgPool, time: Duration) -> Result<[Latency; 2], Failure> {
    let names = ["session lock: acquire", "session lock: release"];
    let lock = random_key::lock("bench");
    match lock.acquire(pool).await {
        Ok(guard) => guard.release().await?,
        Err(Error::Unsupported { reason, .. }) => {
            return Ok(names.map(|work| Latency {
                refused: Some(reason.to_string()),
                ..Samples::default().latency(work)
            }));
        }
        Err(error) => return Err(error.into()),
    }
    let (mut acquires, mut releases) = (Samples::default(), Samples::default());
    let start = Instant::now();
    while start.elapsed() < time {
        let guard = acquires.time(lock.acquire(pool)).await?;
        releases.time(guard.release()).await?;
    }
    Ok([acquires.latency(names[0]), releases.latency(names[1])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_of_the_sorted_samples() {
        for (count, median, p99) in [
            (100, Some(50.0), Some(99.0)),
            (1, Some(1.0), Some(1.0)),
            (0, None, None),
        ] {
            let samples = (1..=count).rev().map(Duration::from_micros);
            let latency = Samples(samples.collect()).latency("work");
            assert_eq!((latency.median_us, latency.p99_us), (median, p99));
        }
    }
}
