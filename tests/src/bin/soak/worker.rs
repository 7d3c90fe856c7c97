//! One of the processes.

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

use crate::plan::Plan;
use crate::stay::{Failure, Place, stay};
use crate::tally::{Tally, end};

/// How often a process says what has come of it.
const REPORT: Duration = Duration::from_millis(200);

/// How long tasks and pools may take to come to rest when chaos has ended.
const REST: Duration = Duration::from_secs(40);

/// Where the server is, and what to do.
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

/// Runs tasks until its standard input ends; says on standard output what has come of them.
pub(crate) async fn run(settings: Settings) {
    let place = Place {
        pool: pool(&settings, settings.connections),
        outside: pool(&settings, 2),
    };
    let (tally, stop) = (
        Arc::<Mutex<Tally>>::default(),
        Arc::new(AtomicBool::new(false)),
    );
    let mut tasks = JoinSet::new();
    for _ in 0..settings.tasks {
        let (place, tally, stop) = (place.clone(), Arc::clone(&tally), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                attempt(&place, settings.keys, &tally).await;
            }
        });
    }
    let reports = tokio::spawn(report(Arc::clone(&tally)));
    // Whatever ends the input, the death of who has started us included.
    let _ = tokio::io::stdin().read(&mut [0]).await;
    stop.store(true, Ordering::Relaxed);
    let rested = timeout(REST, come_to_rest(tasks, &place)).await;
    reports.abort();
    say(&tally);
    tell(&match rested {
        Ok(Ok(())) => "end\n".to_owned(),
        Ok(Err(error)) => format!("fault\ta process does not come to rest: {error}\n"),
        Err(_) => format!("fault\ta task or a pool hangs: not at rest after {REST:?}\n"),
    });
}

fn pool(settings: &Settings, connections: u32) -> PgPool {
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(settings.port)
        .username("postgres")
        .database(&settings.database)
        .ssl_mode(PgSslMode::Disable)
        .application_name("soak");
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options)
}

async fn attempt(place: &Place, keys: i32, tally: &Mutex<Tally>) {
    let plan = Plan::random(keys);
    let end = match plan.drop_after {
        Some(after) => match timeout(after, stay(place, &plan)).await {
            Ok(outcome) => judge(&outcome),
            Err(_elapsed) => "dropped".to_owned(),
        },
        None => judge(&stay(place, &plan).await),
    };
    let is_no_connection = end == "cut off" || end == "no connection";
    tally
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .add(&plan.way, &end, 1);
    if is_no_connection {
        // The server may be away for a moment.
        sleep(Duration::from_millis(20)).await;
    }
}

fn judge(outcome: &Result<bool, Failure>) -> String {
    if let Err(Failure::Overlap(what)) = outcome {
        tell(&format!("fault\toverlap: {what}\n"));
    }
    end(outcome)
}

async fn report(tally: Arc<Mutex<Tally>>) {
    loop {
        sleep(REPORT).await;
        say(&tally);
    }
}

fn say(tally: &Mutex<Tally>) {
    let counts = tally.lock().unwrap_or_else(PoisonError::into_inner).take();
    let lines: Vec<_> = counts.lines().map(|line| line + "\n").collect();
    tell(&lines.concat());
}

fn tell(lines: &str) {
    let mut out = std::io::stdout();
    // Who does not listen any more has gone, and so will we.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// Every task ends, none has panicked, and every connection of the pool can be had and answers.
async fn come_to_rest(mut tasks: JoinSet<()>, place: &Place) -> Result<(), String> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| format!("a task has panicked: {error}"))?;
    }
    let pool = &place.pool;
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
