//! Many keys that nobody contends for, over more and more connections, beside `pgbench` with the same statements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use advisory_core::{AdvisoryLock, Error, Key, lock, unlock};
use advisory_tests::{Database, Proxy};
use futures_util::future::BoxFuture;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use sqlx::PgPool;
use sqlx::postgres::PgConnection;
use tokio::task::JoinSet;

use crate::Bench;
use crate::by_hand;
use crate::contest::turns;
use crate::pgbench::{Pgbench, Script};
use crate::place::Place;
use crate::plot::{Line, Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Sample, count, quantile, thousands, three_digits};

const CONNECTIONS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// Takes one lock and releases it.
type Work = fn(Arc<Hands>, i64) -> BoxFuture<'static, ()>;

/// What a task works with.
struct Hands {
    pool: PgPool,
    conn: tokio::sync::Mutex<PgConnection>,
}

/// Who runs, and the row with the same statements.
struct Way {
    name: &'static str,
    runner: Runner,
    same_as: Option<usize>,
}

enum Runner {
    Here(Work),
    Pgbench(Script),
}

/// Rates, and how much of a processor each lock took on the client's side.
#[derive(Clone, Default)]
struct Row {
    rate: Sample,
    processor: Vec<f64>,
}

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let Some(pgbench) = Pgbench::find(&bench.server, &database) else {
        bench.tell("SKIPPED throughput: no pgbench beside the server");
        let note = "Not measured: there is no `pgbench` beside the server.";
        return Report {
            parts: vec![Part::new("throughput", Table::new(["what"])).note(note)],
            ..Report::default()
        };
    };
    let ways = ways(&database).await;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        rows.push(contest(bench, &database, &pgbench, &ways, connections).await);
    }
    report(&ways, &rows)
}

async fn ways(database: &Database) -> Vec<Way> {
    let functions = [
        "SELECT pg_catalog.pg_advisory_lock(:key)",
        "SELECT pg_catalog.pg_advisory_unlock(:key)",
    ];
    let by_hand = ["BEGIN", "SELECT pg_advisory_xact_lock(:key)", "COMMIT"];
    let way = |name, runner, same_as| Way {
        name,
        runner,
        same_as,
    };
    vec![
        way("`transaction`", Runner::Here(transaction), Some(1)),
        way(
            "pgbench, the messages of `transaction`",
            Runner::Pgbench(messages(database).await),
            None,
        ),
        way(
            "by hand: begin, lock, commit",
            Runner::Here(by_hand_on),
            Some(3),
        ),
        way(
            "pgbench, begin, lock, commit",
            Runner::Pgbench(Script::prepared(&by_hand)),
            None,
        ),
        way(
            "`lock`, `unlock` on a connection",
            Runner::Here(functions_on),
            Some(5),
        ),
        way(
            "pgbench, lock, unlock",
            Runner::Pgbench(Script::prepared(&functions)),
            None,
        ),
    ]
}

/// What `transaction` sends, read off the wire, with a variable for the key.
async fn messages(database: &Database) -> Script {
    const KEY: i64 = 123_456_789_012;
    let proxy = Proxy::start(database).await;
    let pool = Place(proxy.options()).pool_of(1, false).await;
    let lock = AdvisoryLock::new(KEY);
    for _ in 0..2 {
        proxy.reset();
        let done = lock.transaction(&pool, async |_| Ok::<_, Error>(()));
        done.await.expect("the lock is free");
    }
    let messages = proxy
        .messages()
        .into_iter()
        .filter_map(|message| message.sql);
    Script::messages(messages.map(|sql| sql.replace(&KEY.to_string(), ":key")))
}

async fn contest(
    bench: &Bench,
    database: &Database,
    pgbench: &Pgbench,
    ways: &[Way],
    connections: u32,
) -> Vec<Row> {
    let hands = hands(database, connections).await;
    let mut rows = vec![Row::default(); ways.len()];
    let rounds = bench.effort.fewer_rounds(8);
    for round in 0..rounds {
        bench.say(&format!(
            "throughput, {connections} connections: round {} of {rounds}",
            round + 1
        ));
        for turn in turns(ways.len(), round) {
            let length = Duration::from_secs(if bench.effort.is_smoke { 0 } else { 1 });
            let (rate, used) = match &ways[turn].runner {
                Runner::Here(work) => {
                    let before = processor(UsageWho::RUSAGE_SELF);
                    let rate = rush(&hands, *work, length).await;
                    (rate, processor(UsageWho::RUSAGE_SELF) - before)
                }
                Runner::Pgbench(script) => {
                    let before = processor(UsageWho::RUSAGE_CHILDREN);
                    let rate = pgbench.run(script, connections, length).await;
                    (rate, processor(UsageWho::RUSAGE_CHILDREN) - before)
                }
            };
            rows[turn].rate.push(vec![rate]);
            rows[turn].processor.push(used / rate);
        }
    }
    rows
}

/// Microseconds, so far, of a second of work.
fn processor(who: UsageWho) -> f64 {
    let usage: Usage = getrusage(who).expect("BUG: the system counts");
    let total = usage.user_time() + usage.system_time();
    #[expect(clippy::cast_precision_loss, reason = "hours at most")]
    let total = total.num_microseconds() as f64;
    total
}

async fn hands(database: &Database, connections: u32) -> Vec<Arc<Hands>> {
    let pool = Place(database.options()).pool_of(connections, false).await;
    let mut hands = Vec::new();
    for _ in 0..connections {
        hands.push(Arc::new(Hands {
            pool: pool.clone(),
            conn: tokio::sync::Mutex::new(database.connection().await),
        }));
    }
    hands
}

/// Locks per second, by as many tasks as there are hands.
async fn rush(hands: &[Arc<Hands>], work: Work, length: Duration) -> f64 {
    let (stop, locks) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for hands in hands {
        let (hands, stop, locks) = (Arc::clone(hands), Arc::clone(&stop), Arc::clone(&locks));
        tasks.spawn(async move {
            loop {
                work(Arc::clone(&hands), fastrand::i64(..)).await;
                locks.fetch_add(1, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("nobody fails");
    }
    count(locks.load(Ordering::Relaxed)) / start.elapsed().as_secs_f64()
}

fn transaction(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let lock = AdvisoryLock::new(key);
        let done = lock.transaction(&hands.pool, async |_| Ok::<_, Error>(()));
        done.await.expect("the lock is free");
    })
}

fn by_hand_on(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let done = by_hand::transaction(&hands.pool, key).await;
        done.expect("the lock is free");
    })
}

fn functions_on(hands: Arc<Hands>, key: i64) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut conn = hands.conn.lock().await;
        let locked = lock(&mut *conn, Key::from(key)).await;
        locked.expect("the lock is free");
        let unlocked = unlock(&mut *conn, Key::from(key)).await;
        assert!(unlocked.expect("the server answers"), "it was held");
    })
}

fn report(ways: &[Way], rows: &[Vec<Row>]) -> Report {
    let header = ["locks per second with … connections".to_owned()];
    let header = header
        .into_iter()
        .chain(CONNECTIONS.map(|connections| connections.to_string()));
    let mut rates = Table::new(header.clone());
    let mut processor = Table::new(
        ["processor time of the client for a lock, µs".to_owned()]
            .into_iter()
            .chain(header.skip(1)),
    );
    let mut targets = Vec::new();
    let mut lines = Vec::new();
    for (way, Way { name, same_as, .. }) in ways.iter().enumerate() {
        let medians: Vec<_> = rows.iter().map(|row| row[way].rate.median()).collect();
        rates
            .row(std::iter::once((*name).to_owned()).chain(medians.iter().copied().map(thousands)));
        let used = rows
            .iter()
            .map(|row| three_digits(quantile(&row[way].processor, 0.5)));
        processor.row(std::iter::once((*name).to_owned()).chain(used));
        lines.push(Line {
            name: name.replace('`', ""),
            points: CONNECTIONS
                .iter()
                .copied()
                .map(f64::from)
                .zip(medians)
                .collect(),
        });
        let Some(rival) = *same_as else { continue };
        let ratios: Vec<_> = rows
            .iter()
            .map(|row| row[way].rate.ratio_to(&row[rival].rate))
            .collect();
        let shares = ratios.iter().map(|ratio| format!("{:.0} %", ratio * 100.0));
        rates
            .row(std::iter::once("… of pgbench with the same statements".to_owned()).chain(shares));
        if way != 2 {
            let best = quantile(&ratios, 0.5);
            let what = format!(
                "distinct keys: {name} against pgbench with the same statements, the middle of all numbers of connections"
            );
            targets.push(Target::at_least(what, 0.8, best));
        }
    }
    let shape = Shape::Lines {
        across: "connections",
        up: "locks per second",
        lines,
    };
    Report {
        parts: vec![
            Part::new("throughput", rates),
            Part::new("throughput-processor", processor),
        ],
        plots: vec![Plot {
            file: "performance-throughput",
            title: "Distinct keys: locks taken and released per second",
            shape,
        }],
        targets,
    }
}
