//! Rivals, measured in turns: a block of A, a block of B, a block of A again, so that whatever slows the machine down slows all.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use advisory_tests::foreign_client::ForeignClient;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::sample::Sample;
use crate::{Bench, Effort};

/// The most that is run in one block.
const MOST: usize = 2_000;

/// Runs so many times, and says how long each took.
type Block = Box<dyn FnMut(usize) -> BoxFuture<'static, Vec<f64>> + Send>;

/// One of the rivals.
pub(crate) struct Lane {
    pub(crate) name: String,
    block: Block,
}

impl Lane {
    /// Work that is timed from its beginning to its end.
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

    /// Work on a pool, which takes a lock that is free.
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

    /// Work that says itself how long the part of it took that matters.
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
            block: Box::new(block),
        }
    }

    /// What a package does in a process of its own, which times it.
    pub(crate) fn elsewhere(name: impl Into<String>, client: ForeignClient) -> Self {
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
            block: Box::new(block),
        }
    }

    pub(crate) async fn run(&mut self, times: usize) -> Vec<f64> {
        (self.block)(times).await
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// Measures all lanes in turns. The one that begins is another in every round.
pub(crate) async fn measure(bench: &Bench, what: &str, lanes: &mut [Lane]) -> Vec<Sample> {
    let mut times = Vec::new();
    for lane in &mut *lanes {
        bench.say(&format!("{what}: {}", lane.name));
        times.push(warm_up(lane, bench.effort).await);
    }
    let mut samples = vec![Sample::default(); lanes.len()];
    let rounds = bench.effort.rounds;
    for round in 0..rounds {
        bench.say(&format!("{what}: round {} of {rounds}", round + 1));
        for turn in turns(lanes.len(), round) {
            samples[turn].push(lanes[turn].run(times[turn]).await);
        }
    }
    samples
}

/// Whose turn it is, one after the other.
pub(crate) fn turns(lanes: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..lanes).map(move |turn| (turn + round) % lanes)
}

/// Fills caches, and finds out how often a block runs.
async fn warm_up(lane: &mut Lane, effort: Effort) -> usize {
    lane.run(effort.warm_up).await;
    let start = Instant::now();
    lane.run(effort.warm_up).await;
    let one = start.elapsed() / u32::try_from(effort.warm_up).unwrap_or(1);
    times_within(effort.block, one).max(effort.least)
}

fn times_within(block: Duration, one: Duration) -> usize {
    let times = block.as_nanos() / one.as_nanos().max(1);
    usize::try_from(times).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_turn_in_a_round_and_another_begins_in_the_next() {
        assert_eq!(turns(3, 0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(turns(3, 1).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(turns(3, 5).collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn a_block_is_as_long_as_it_should_be_and_not_without_end() {
        let block = Duration::from_millis(40);
        assert_eq!(times_within(block, Duration::from_millis(4)), 10);
        assert_eq!(times_within(block, Duration::from_secs(1)), 0);
        assert_eq!(times_within(block, Duration::ZERO), MOST);
    }
}
