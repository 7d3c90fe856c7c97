//! One of the processes with its tasks.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advisory_core::LockSession;
use advisory_history::Recorder;
use clap::Args;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::critical_section::{Failure, Pools, lock_and_run};
use crate::fleet::lock;
use crate::layout::Layout;
use crate::plan::{Plan, one_in};
use crate::seeded::Seeded;
use crate::tally::{ATTEMPTS, CHANGES, LEAK, OVERLAP, Tally, UNEXPECTED, outcome_name};
use crate::update::Update;
use crate::{Soak, leak};

/// The interval at which a process prints its counts.
const REPORT: Duration = Duration::from_millis(200);

/// How long tasks and pools may take to become idle after the last disruption.
const IDLE_TIMEOUT: Duration = Duration::from_secs(40);

/// The connections of a process for what does not run in the session of a lock.
const OUTSIDE: u32 = 6;

/// The arguments of a process.
#[derive(Args, Clone)]
pub(crate) struct Settings {
    /// The number of this process among all that the test has started.
    #[arg(long)]
    process: u32,
    /// The port for locks.
    #[arg(long)]
    port: u16,
    /// The port for what is changed beside a lock.
    #[arg(long)]
    store_port: u16,
    #[arg(long)]
    database: String,
    #[arg(long)]
    started: u64,
    #[command(flatten)]
    soak: Soak,
}

/// What the tasks of a process share.
#[derive(Clone)]
struct Shared {
    pools: Pools,
    layout: Layout,
    seeded: Vec<Seeded>,
    attempts: Arc<Mutex<Tally>>,
    changes: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
}

/// Runs tasks until the standard input ends. Prints the outcomes to the standard output.
pub(crate) async fn run(settings: Settings) {
    let name = format!("soak {}", settings.process);
    let pool = new_pool(&settings, settings.port, &name, settings.soak.connections);
    let shared = Shared {
        pools: Pools {
            outside: new_pool(&settings, settings.store_port, "soak store", OUTSIDE),
            locks: LockSession::new(&pool),
            pool,
        },
        layout: Layout {
            keys: settings.soak.keys,
            started: settings.started,
        },
        seeded: settings.soak.seeded,
        attempts: Arc::default(),
        changes: Arc::default(),
        stop: Arc::default(),
    };
    let recorder = match &settings.soak.history {
        Some(path) => Recorder::to(path).expect("the parent process has created the file"),
        None => Recorder::off(),
    };
    let mut tasks = JoinSet::new();
    for task in 0..settings.soak.tasks {
        let (shared, recorder) = (shared.clone(), Arc::clone(&recorder));
        let changes = Arc::clone(&shared.changes);
        let client = Client::new(recorder, settings.process, task, changes);
        tasks.spawn(async move {
            while !shared.stop.load(Ordering::Relaxed) {
                attempt(&shared, &client).await;
            }
        });
    }
    let reports = tokio::spawn(report(shared.clone()));
    // The input also ends when the parent process is killed.
    let _ = tokio::io::stdin().read(&mut [0]).await;
    shared.stop.store(true, Ordering::Relaxed);
    let idle = timeout(IDLE_TIMEOUT, wait_until_idle(tasks, &shared.pools, &name)).await;
    reports.abort();
    print_counts(&shared);
    print(&match idle {
        Ok(Ok(())) => "end\n".to_owned(),
        Ok(Err(violation)) => format!("violation\t{violation}\nend\n"),
        Err(_) => format!("violation\ta task or a pool hangs: not idle after {IDLE_TIMEOUT:?}\n"),
    });
}

fn new_pool(settings: &Settings, port: u16, name: &str, connections: u32) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .database(&settings.database)
        .ssl_mode(PgSslMode::Disable)
        .application_name(name)
        // How long PostgreSQL's function waits, which has no timeout of its own.
        .options([("lock_timeout", "2s")]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options)
}

/// Takes a lock in some way, and works under it.
async fn attempt(shared: &Shared, client: &Client) {
    let (pools, layout) = (&shared.pools, shared.layout);
    if let Some(seeded) = fastrand::choice(&shared.seeded).filter(|_| one_in(4)) {
        let running = Box::pin(seeded.run(pools, client, layout));
        finish(shared, &seeded.name(), None, running).await;
    } else if one_in(5) {
        let update = Update::random(layout);
        let drop_after = one_in(6).then(|| Duration::from_micros(fastrand::u64(..100_000)));
        let running = Box::pin(update.run(pools, client));
        finish(shared, update.name(), drop_after, running).await;
    } else {
        let plan = Plan::random(layout);
        let drop_after = one_in(3).then(|| Duration::from_micros(fastrand::u64(..30_000)));
        let running = lock_and_run(pools, &plan, client);
        finish(shared, plan.verb.name(), drop_after, running).await;
    }
}

/// Runs a future, drops it after some time, and counts its outcome.
async fn finish(
    shared: &Shared,
    name: &str,
    drop_after: Option<Duration>,
    running: impl Future<Output = Result<bool, Failure>>,
) {
    let outcome = match drop_after {
        Some(after) => match timeout(after, running).await {
            Ok(outcome) => classify(name, &outcome),
            Err(_elapsed) => "dropped",
        },
        None => classify(name, &running.await),
    };
    lock(&shared.attempts).add(&name, &outcome, 1);
    if let "cut off" | "no connection" | "a standby" = outcome {
        // The server may be restarting.
        sleep(Duration::from_millis(20)).await;
    }
}

/// Names the outcome of an attempt, and reports two holders at once, and an error that no
/// disruption explains.
fn classify(verb: &str, outcome: &Result<bool, Failure>) -> &'static str {
    let name = outcome_name(outcome);
    if let (OVERLAP | UNEXPECTED, Err(error)) = (name, outcome) {
        print(&format!("violation\t{name}: {verb}: {error}\n"));
    }
    name
}

async fn report(shared: Shared) {
    loop {
        sleep(REPORT).await;
        print_counts(&shared);
    }
}

fn print_counts(shared: &Shared) {
    let tallies = [(ATTEMPTS, &shared.attempts), (CHANGES, &shared.changes)];
    for (name, tally) in tallies {
        let counts = lock(tally).take();
        let lines: Vec<_> = counts.lines(name).map(|line| line + "\n").collect();
        print(&lines.concat());
    }
}

fn print(lines: &str) {
    let mut out = std::io::stdout();
    // An error means that the parent process has ended. This process will end as well.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// Waits until every task has ended and every connection of the pool answers. The error is a
/// violation: a panic, a pool that is not whole, or something that the sessions still hold.
async fn wait_until_idle(mut tasks: JoinSet<()>, pools: &Pools, name: &str) -> Result<(), String> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| format!("a task has panicked: {error}"))?;
    }
    pools.locks.close().await;
    let pool = &pools.pool;
    let all = (0..pool.options().get_max_connections()).map(|_| pool.acquire());
    let all = try_join_all(all).await;
    let mut all = all.map_err(|error| format!("the pool is not whole: {error}"))?;
    let answers = all
        .iter_mut()
        .map(|conn| sqlx::query("SELECT 1").execute(&mut **conn));
    let answers = try_join_all(answers).await;
    answers.map_err(|error| format!("a connection of the pool does not answer: {error}"))?;
    match left(&pools.outside, name).await {
        Ok(0) => Ok(()),
        Ok(left) => Err(format!(
            "{LEAK}: {left} locks or open transactions of `{name}`"
        )),
        Err(error) => Err(format!("the leaks of a process are not known: {error}")),
    }
}

async fn left(outside: &PgPool, name: &str) -> sqlx::Result<i64> {
    leak::left(&mut *outside.acquire().await?, name).await
}
