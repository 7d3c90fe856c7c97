//! The throughput of several concurrent tasks.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::sample::count;

/// Runs the work of each task repeatedly for `length`, and returns the number of runs per second.
pub(crate) async fn rate<W, F>(tasks: impl Iterator<Item = W>, length: Duration) -> f64
where
    W: Fn() -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut running = JoinSet::new();
    let start = Instant::now();
    for work in tasks {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        running.spawn(async move {
            loop {
                work().await;
                done.fetch_add(1, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        ended.expect("no task fails");
    }
    count(done.load(Ordering::Relaxed)) / start.elapsed().as_secs_f64()
}
