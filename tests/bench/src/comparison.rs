//! Comparing workloads. They run in rotation: a block of A, a block of B, a block of A again. So a
//! disturbance of the machine affects all of them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::foreign_client::ForeignClient;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::sample::Sample;
use crate::{Bench, Effort};

/// The maximum number of runs in a block.
const MAX_RUNS: usize = 2_000;

/// Runs a workload so many times, and returns the duration of each run in nanoseconds.
type Block = Box<dyn FnMut(usize) -> BoxFuture<'static, Vec<f64>> + Send>;

/// A workload of a comparison: one row of its table.
pub(crate) struct Workload {
    pub(crate) name: String,
    /// The index of the workload with which it is compared.
    pub(crate) rival: Option<usize>,
    block: Block,
}

impl Workload {
    /// A workload that is timed from its begin to its end.
    pub(crate) fn new<F, W>(name: impl Into<String>, work: F) -> Self
    where
        F: Fn() -> W + Clone + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        Self::timed(name, move || {
            let work = work.clone();
            async move {
                let start = Instant::now();
                work().await;
                start.elapsed()
            }
        })
    }

    /// A workload that takes a free lock on a pool.
    pub(crate) fn on_pool<F, W, E>(name: impl Into<String>, pool: &PgPool, work: F) -> Self
    where
        F: Fn(PgPool) -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Debug,
    {
        let pool = pool.clone();
        Self::new(name, move || {
            let done = work(pool.clone());
            async move { done.await.expect("the lock is free") }
        })
    }

    /// As [`on_pool`](Self::on_pool), with a lock.
    pub(crate) fn with_lock<W>(
        name: impl Into<String>,
        pool: &PgPool,
        lock: &AdvisoryLock,
        work: fn(AdvisoryLock, PgPool) -> W,
    ) -> Self
    where
        W: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let lock = lock.clone();
        Self::on_pool(name, pool, move |pool| work(lock.clone(), pool))
    }

    /// A workload that times itself, because only a part of it is measured.
    pub(crate) fn timed<F, W>(name: impl Into<String>, work: F) -> Self
    where
        F: Fn() -> W + Clone + Send + Sync + 'static,
        W: Future<Output = Duration> + Send + 'static,
    {
        let block = move |times| -> BoxFuture<'static, Vec<f64>> {
            let work = work.clone();
            Box::pin(async move {
                let mut took = Vec::with_capacity(times);
                for _ in 0..times {
                    took.push(nanoseconds(work().await));
                }
                took
            })
        };
        Self {
            name: name.into(),
            rival: None,
            block: Box::new(block),
        }
    }

    /// A workload of a package in another process, which times itself.
    pub(crate) fn foreign(name: impl Into<String>, client: ForeignClient) -> Self {
        let name = name.into();
        let (client, lock) = (Arc::new(Mutex::new(client)), name.clone());
        let block = move |times| -> BoxFuture<'static, Vec<f64>> {
            let (client, lock) = (Arc::clone(&client), lock.clone());
            Box::pin(async move {
                let request = json!({"do": "measure", "name": lock, "count": times});
                let answer = client.lock().await.request(request).await;
                let answer = answer.unwrap_or_else(|error| panic!("{lock}: {error}"));
                let took = answer["nanoseconds"].as_array().expect("a list");
                took.iter().filter_map(Value::as_f64).collect()
            })
        };
        Self {
            name,
            rival: None,
            block: Box::new(block),
        }
    }

    /// Compares it with the workload of this index.
    pub(crate) fn against(self, rival: usize) -> Self {
        Self {
            rival: Some(rival),
            ..self
        }
    }

    pub(crate) async fn run(&mut self, times: usize) -> Vec<f64> {
        (self.block)(times).await
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// Measures all workloads in rotation. Each round begins with another workload.
pub(crate) async fn measure(bench: &Bench, what: &str, workloads: &mut [Workload]) -> Vec<Sample> {
    let mut times = Vec::new();
    for workload in &mut *workloads {
        bench.set_progress(&format!("{what}: {}", workload.name));
        times.push(warm_up(workload, bench.effort).await);
    }
    let mut samples = vec![Sample::default(); workloads.len()];
    for index in in_rotation(bench, what, bench.effort.rounds, workloads.len()) {
        samples[index].push(workloads[index].run(times[index]).await);
    }
    samples
}

/// The workloads of all rounds, in the order in which they run. Reports each round as it begins.
pub(crate) fn in_rotation(
    bench: &Bench,
    what: &str,
    rounds: usize,
    workloads: usize,
) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| {
        bench.set_progress(&format!("{what}: round {} of {rounds}", round + 1));
        rotation(workloads, round)
    })
}

/// The order of the workloads in a round.
fn rotation(workloads: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..workloads).map(move |index| (index + round) % workloads)
}

/// Warms up caches, and determines the number of runs in a block.
async fn warm_up(workload: &mut Workload, effort: Effort) -> usize {
    workload.run(effort.warm_up).await;
    let start = Instant::now();
    workload.run(effort.warm_up).await;
    let one = start.elapsed() / u32::try_from(effort.warm_up).unwrap_or(1);
    times_within(effort.block, one).max(effort.least)
}

fn times_within(block: Duration, one: Duration) -> usize {
    let times = block.as_nanos() / one.as_nanos().max(1);
    usize::try_from(times).unwrap_or(MAX_RUNS).min(MAX_RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_runs_every_workload_once_and_begins_with_the_next_one() {
        assert_eq!(rotation(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(rotation(3, 1).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(rotation(3, 5).collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn block_has_the_given_duration_and_a_maximum_of_runs() {
        let block = Duration::from_millis(40);
        assert_eq!(times_within(block, Duration::from_millis(4)), 10);
        assert_eq!(times_within(block, Duration::from_secs(1)), 0);
        assert_eq!(times_within(block, Duration::ZERO), MAX_RUNS);
    }
}
