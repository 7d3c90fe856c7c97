//! Running many jobs on a few workers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::fixture::Fixture;

/// Runs all jobs on so many workers, each with a fixture of its own.
pub(crate) async fn run_on_workers<T: Send + 'static, R: Send + 'static>(
    workers: usize,
    jobs: impl Iterator<Item = T>,
    run: fn(T, Arc<Fixture>) -> BoxFuture<'static, R>,
) -> Vec<R> {
    let left: Arc<Mutex<VecDeque<T>>> = Arc::new(Mutex::new(jobs.collect()));
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let left = Arc::clone(&left);
        let next = move || left.lock().unwrap().pop_front();
        running.spawn(async move {
            let mut done = Vec::new();
            let mut fixture = Arc::new(Fixture::new().await);
            while let Some(job) = next() {
                if fixture.is_dirty() {
                    fixture = Arc::new(Fixture::new().await);
                }
                done.push(run(job, Arc::clone(&fixture)).await);
            }
            done
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}
