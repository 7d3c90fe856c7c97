//! Tasks that wait, in a process that does nothing else. So its memory and its processor time are
//! theirs.

use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, LockSession};
use futures_util::future::try_join_all;
use nix::sys::resource::UsageWho;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::by_hand;
use crate::comparison::nanoseconds;
use crate::endpoint::Endpoint;
use crate::memory::{of_processes, processor_of};
use crate::sample::count;

/// How many keys are held elsewhere.
const KEYS: i64 = 2_000;
const APPLICATION_NAME: &str = "bench-waiter";

/// On which connections the tasks wait. The text is an argument of the process.
pub(super) const SHARED: &str = "`LockSession`";
pub(super) const CONNECTED: &str = "one connection each";

#[derive(Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(super) connections: f64,
    /// In per cent of a core.
    pub(super) processor: f64,
    /// Of the client, in MiB.
    pub(super) memory: f64,
    /// Of its backends, in MiB.
    pub(super) backend_memory: f64,
    /// From the release of all keys until the last task has had its lock, in nanoseconds.
    pub(super) served: f64,
}

impl Measured {
    /// Of the client and its backends, in MiB.
    pub(super) fn total_memory(&self) -> f64 {
        self.memory + self.backend_memory
    }
}

/// Lets tasks wait in a process of their own for so many seconds.
pub(super) async fn measure(
    how: &str,
    waiters: usize,
    seconds: f64,
    options: &PgConnectOptions,
) -> Measured {
    let program = std::env::current_exe().expect("BUG: a running program has a path");
    let (waiters, seconds) = (waiters.to_string(), seconds.to_string());
    let arguments = ["--wait", how, &waiters, &seconds];
    let child = Command::new(program)
        .args(arguments)
        .arg(options.to_url_lossy().as_str())
        .output();
    let output = child.await.expect("it can be run");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// What the other process does. Returns the figures.
pub(crate) async fn wait_in_this_process(
    how: &str,
    waiters: &str,
    seconds: &str,
    url: &str,
) -> Measured {
    let waiters = waiters.parse().expect("a number of waiters");
    let length = Duration::from_secs_f64(seconds.parse().expect("a number of seconds"));
    let options: PgConnectOptions = url.parse().expect("a URL");
    let mut monitor = options.connect().await.expect("it can be reached");
    let holder = LockSession::new(&Endpoint(options.clone()).lazy_pool());
    let held = (0..KEYS).map(async |key| AdvisoryLock::new(key).acquire(&holder).await);
    let held = try_join_all(held).await.expect("the locks are free");
    let this = [i32::try_from(std::process::id()).expect("BUG: a process id")];
    let before = of_processes(&this).memory;
    let mut tasks = start(how, waiters, &options.application_name(APPLICATION_NAME));
    sleep(length / 2).await;
    // A connection each takes a while to open.
    while how == CONNECTED && pids(&mut monitor, APPLICATION_NAME).await.len() < waiters {
        sleep(Duration::from_millis(20)).await;
    }
    let server = pids(&mut monitor, "").await;
    let processor = || processor_of(UsageWho::RUSAGE_SELF) * 1e3 + of_processes(&server).processor;
    let (began, used) = (Instant::now(), processor());
    sleep(length).await;
    let share = (processor() - used) / 1e9 / began.elapsed().as_secs_f64();
    let backends = pids(&mut monitor, APPLICATION_NAME).await;
    let mebibytes = |bytes: f64| bytes / 1024.0 / 1024.0;
    let memory = mebibytes(of_processes(&this).memory - before);
    let backend_memory = mebibytes(of_processes(&backends).memory);
    let released = Instant::now();
    drop(held);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task fails");
    }
    Measured {
        connections: count(backends.len()),
        processor: share * 100.0,
        memory,
        backend_memory,
        served: nanoseconds(released.elapsed()),
    }
}

/// Starts the tasks. Each takes its lock, and releases it at once.
fn start(how: &str, waiters: usize, options: &PgConnectOptions) -> JoinSet<()> {
    let locks = LockSession::new(&Endpoint(options.clone()).lazy_pool());
    let mut tasks = JoinSet::new();
    for key in (0..KEYS).cycle().take(waiters) {
        if how == SHARED {
            let locks = locks.clone();
            tasks.spawn(async move {
                let guard = AdvisoryLock::new(key).acquire(&locks).await;
                let guard = guard.expect("it is granted");
                guard.release().await.expect("it answers");
            });
        } else {
            let options = options.clone();
            tasks.spawn(async move {
                let mut conn = options.connect().await.expect("it can be reached");
                by_hand::lock(&mut conn, key).await.expect("it is granted");
                by_hand::unlock(&mut conn, key).await.expect("it answers");
            });
        }
    }
    tasks
}

/// The processes of the server whose application has a name that begins so, without the one that
/// looks.
async fn pids(monitor: &mut PgConnection, name: &str) -> Vec<i32> {
    let pids = "SELECT pid FROM pg_stat_activity \
                WHERE starts_with(coalesce(application_name, ''), $1) AND pid <> pg_backend_pid()";
    let rows = sqlx::query(pids).bind(name).fetch_all(monitor).await;
    let rows = rows.expect("a superuser may look");
    rows.iter().map(|row| row.get(0)).collect()
}
