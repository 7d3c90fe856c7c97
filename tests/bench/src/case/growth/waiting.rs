//! The cost of sessions that wait on the server.

use std::time::Duration;

use advisory_core::AdvisoryLock;
use advisory_tests::Database;

use crate::Bench;
use crate::endpoint::Endpoint;
use crate::memory::of_processes;
use crate::report::Part;
use crate::sample::{Nanoseconds, count, three_digits};

/// How many sessions wait for one lock.
const WAITERS: usize = 100;
const IN_A_SMOKE_RUN: usize = 4;
const APPLICATION_NAME: &str = "bench-waiter";

/// Measures the memory and the processor time of waiting backends.
pub(super) async fn measure(bench: &Bench) -> Part {
    let second = Duration::from_secs(1);
    let length = bench.effort.unless_smoke(3 * second, second / 20);
    let waiters = bench.effort.unless_smoke(WAITERS, IN_A_SMOKE_RUN);
    bench.set_progress(&format!("growth: {waiters} waiters"));
    let lock = AdvisoryLock::new("bench:growth");
    let queueing = wait(bench, lock.clone(), waiters, length).await;
    let polling = lock.polling(Duration::from_millis(100));
    let polling = wait(bench, polling, waiters, length).await;
    let text = format!(
        "{waiters} of them take {} MB each (private memory of the backend), and {} of processor time in a second together. If \
         they poll every 100 ms, they take {}.",
        three_digits(queueing.memory / 1e6),
        Nanoseconds(queueing.processor),
        Nanoseconds(polling.processor),
    );
    Part::text("growth-waiters", text)
}

struct Waiting {
    memory: f64,
    processor: f64,
}

async fn wait(bench: &Bench, lock: AdvisoryLock, waiters: usize, length: Duration) -> Waiting {
    let database = Database::on(&bench.server).await;
    let outside = Endpoint(database.options()).pool().await;
    let held = AdvisoryLock::new("bench:growth").begin(&outside).await;
    let held = held.expect("the lock is free");
    let waiter = Endpoint(database.options().application_name(APPLICATION_NAME));
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            // Each waiter has its own pool: of the calls on one pool, only one waits on the server.
            let (lock, pool) = (lock.clone(), waiter.lazy_pool());
            tokio::spawn(async move { drop(lock.begin(&pool).await) })
        })
        .collect();
    tokio::time::sleep(length / 3).await;
    let mut backends = database.backends().await;
    backends.retain(|backend| backend.application_name == APPLICATION_NAME);
    let pids: Vec<_> = backends.iter().map(|backend| backend.pid).collect();
    let before = of_processes(&pids);
    tokio::time::sleep(length).await;
    let after = of_processes(&pids);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    drop(held);
    Waiting {
        memory: after.memory / count(pids.len()),
        processor: (after.processor - before.processor) / length.as_secs_f64(),
    }
}
