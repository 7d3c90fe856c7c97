//! One of the processes with its tasks.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::critical_section::{Failure, Pools, lock_and_run};
use crate::plan::Plan;
use crate::tally::{Tally, outcome_name};

/// The interval at which a process prints its counts.
const REPORT: Duration = Duration::from_millis(200);

/// How long tasks and pools may take to become idle after the last disruption.
const IDLE_TIMEOUT: Duration = Duration::from_secs(40);

/// The arguments of a process.
#[derive(Args, Clone)]
pub(crate) struct Settings {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    database: String,
    #[arg(long)]
    tasks: u16,
    #[arg(long)]
    connections: u32,
    #[arg(long)]
    keys: i32,
}

/// Runs tasks until the standard input ends. Prints the outcomes to the standard output.
pub(crate) async fn run(settings: Settings) {
    let pools = Pools {
        pool: pool(&settings, settings.connections),
        outside: pool(&settings, 2),
    };
    let (tally, stop) = (
        Arc::<Mutex<Tally>>::default(),
        Arc::new(AtomicBool::new(false)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..settings.tasks {
        let (pools, tally, stop) = (pools.clone(), Arc::clone(&tally), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                attempt(&pools, settings.keys, &tally).await;
            }
        });
    }
    let reports = tokio::spawn(report(Arc::clone(&tally)));
    // The input also ends when the parent process is killed.
    let _ = tokio::io::stdin().read(&mut [0]).await;
    stop.store(true, Ordering::Relaxed);
    let idle = timeout(IDLE_TIMEOUT, wait_until_idle(tasks, &pools)).await;
    reports.abort();
    print_counts(&tally);
    print(&match idle {
        Ok(Ok(())) => "end\n".to_owned(),
        Ok(Err(error)) => format!("violation\ta process does not become idle: {error}\n"),
        Err(_) => format!("violation\ta task or a pool hangs: not idle after {IDLE_TIMEOUT:?}\n"),
    });
}

fn pool(settings: &Settings, connections: u32) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(settings.port)
        .username("postgres")
        .database(&settings.database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("soak")
        // How long PostgreSQL's function waits, which has no timeout of its own.
        .options([("lock_timeout", "2s")]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options)
}

async fn attempt(pools: &Pools, keys: i32, tally: &Mutex<Tally>) {
    let plan = Plan::random(keys);
    let outcome = match plan.drop_after {
        Some(after) => match timeout(after, lock_and_run(pools, &plan)).await {
            Ok(outcome) => classify(&outcome),
            Err(_elapsed) => "dropped".to_owned(),
        },
        None => classify(&lock_and_run(pools, &plan).await),
    };
    let is_no_connection = outcome == "cut off" || outcome == "no connection";
    tally
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(&plan.verb, &outcome, 1);
    if is_no_connection {
        // The server may be restarting.
        sleep(Duration::from_millis(20)).await;
    }
}

/// Names the outcome of an attempt, and reports two holders at once.
fn classify(outcome: &Result<bool, Failure>) -> String {
    if let Err(Failure::Overlap(what)) = outcome {
        print(&format!("violation\toverlap: {what}\n"));
    }
    outcome_name(outcome)
}

async fn report(tally: Arc<Mutex<Tally>>) {
    loop {
        sleep(REPORT).await;
        print_counts(&tally);
    }
}

fn print_counts(tally: &Mutex<Tally>) {
    let counts = tally.lock().unwrap_or_else(PoisonError::into_inner).take();
    let lines: Vec<_> = counts.lines().map(|line| line + "\n").collect();
    print(&lines.concat());
}

fn print(lines: &str) {
    let mut out = std::io::stdout();
    // An error means that the parent process has ended. This process will end as well.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// Waits until every task has ended and every connection of the pool answers. A panic is an error.
async fn wait_until_idle(mut tasks: JoinSet<()>, pools: &Pools) -> Result<(), String> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| format!("a task has panicked: {error}"))?;
    }
    let pool = &pools.pool;
    let all = (0..pool.options().get_max_connections()).map(|_| pool.acquire());
    let all = try_join_all(all).await;
    let mut all = all.map_err(|error| format!("the pool is not whole: {error}"))?;
    let answers = all
        .iter_mut()
        .map(|conn| sqlx::query("SELECT 1").execute(&mut **conn));
    let answers = try_join_all(answers).await;
    answers.map_err(|error| format!("a connection of the pool does not answer: {error}"))?;
    Ok(())
}
