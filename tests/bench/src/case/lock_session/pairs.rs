//! Locks on distinct keys, taken and released by an increasing number of tasks.

use std::time::Duration;

use advisory_tests::{Database, Proxy, Server};
use sqlx::postgres::PgConnectOptions;

use super::{CONNECTIONS, Variant};
use crate::Bench;
use crate::comparison::in_rotation;
use crate::endpoint::Endpoint;
use crate::one_core::OnOneCore;
use crate::plot::{Line, Plot, Shape};
use crate::rate::rate;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Sample, count, thousands, three_digits};

const EACH_WAY: Duration = Duration::from_millis(1);

/// A network, the numbers of tasks there, and the least ratios to by hand with some of them.
struct Network {
    name: &'static str,
    tasks: [usize; 4],
    wanted: [(usize, f64); 2],
}

const LOCAL: Network = Network {
    name: "local",
    tasks: [1, 8, 64, 256],
    wanted: [(1, 1.5), (64, 5.0)],
};
/// Without the time to wake up a sleeping core.
const ONE_CORE: Network = Network {
    name: "local, one core",
    ..LOCAL
};
const LOOPBACK: Network = Network {
    name: "loopback TCP",
    ..LOCAL
};
const DELAYED: Network = Network {
    name: "1 ms each way",
    tasks: [1, 8, 64, 1_000],
    wanted: [(64, 5.0), (1_000, 40.0)],
};

pub(super) async fn measure(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let proxy = Proxy::start(&database).await;
    let mut table = Table::new([
        "network",
        "tasks",
        "method",
        "pairs per second",
        "interquartile range",
        "relative speed",
    ]);
    let (mut lines, mut targets) = (Vec::new(), Vec::new());
    let direct = Endpoint(database.options());
    let tcp = tcp_server();
    let tcp_endpoint = tcp.as_ref().map(|(_server, endpoint)| endpoint.clone());
    let networks = [
        (LOCAL, Some(direct.clone())),
        (ONE_CORE, Some(direct)),
        (LOOPBACK, tcp_endpoint),
        (DELAYED, Some(Endpoint(proxy.options()))),
    ];
    for (network, endpoint) in networks {
        let Some(endpoint) = endpoint else { continue };
        let variants = Variant::all(&endpoint).await;
        if network.name == DELAYED.name {
            proxy.set_delay(EACH_WAY);
        }
        let _on_one_core = if network.name == ONE_CORE.name {
            open_all(&variants, bench.effort.block).await;
            match OnOneCore::with(&database).await {
                Ok(on_one_core) => Some(on_one_core),
                Err(_) => continue,
            }
        } else {
            None
        };
        let mut points = variants.each_ref().map(|_| Vec::new());
        for tasks in bench.effort.sizes(&network.tasks).iter().copied() {
            let samples = compare(bench, &network, &variants, tasks).await;
            add_rows(&mut table, &network, tasks, &variants, &samples);
            for (points, sample) in points.iter_mut().zip(&samples) {
                points.push((count(tasks), sample.median()));
            }
            let ratio = samples[0].ratio_to(&samples[1]);
            let wanted = network.wanted.iter().find(|(of, _)| *of == tasks);
            targets.extend(wanted.map(|(_, wanted)| {
                let what = format!(
                    "`LockSession`, {}, tasks: {tasks}, relative to `PgAdvisoryLock`",
                    network.name
                );
                Target::at_least(what, *wanted, ratio)
            }));
        }
        let named = variants.iter().zip(points);
        lines.extend(named.map(|((name, _), points)| Line {
            name: format!("{}, {}", name.replace('`', ""), network.name),
            points,
        }));
    }
    let shape = Shape::Lines {
        across: "tasks, each on its own key",
        up: "locks per second",
        lines,
    };
    Report {
        parts: vec![Part::new("lock-session", table)],
        plots: vec![Plot {
            file: "performance-lock-session",
            title: "Locks taken and released per second",
            shape,
        }],
        targets,
    }
}

/// A server that listens on a loopback address of its own, because other servers have the port of
/// the other addresses. `None` on a system that has one such address.
fn tcp_server() -> Option<(Server, Endpoint)> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = format!("127.78.{high}.{low}");
    let server = Server::start_with(&[("listen_addresses", &address)]).ok()?;
    let options = PgConnectOptions::new_without_pgpass()
        .host(&address)
        .port(5432)
        .username("postgres")
        .database("postgres");
    Some((server, Endpoint(options)))
}

/// Opens the connections that the variants use.
async fn open_all(variants: &[(&str, Variant)], length: Duration) {
    for (_, variant) in variants {
        let pairs = (0..i64::from(CONNECTIONS)).map(|key| variant.pair(key));
        rate(pairs, length).await;
    }
}

async fn compare(
    bench: &Bench,
    network: &Network,
    variants: &[(&str, Variant)],
    tasks: usize,
) -> Vec<Sample> {
    let mut samples = vec![Sample::default(); variants.len()];
    let what = format!("lock session, {}, {tasks} tasks", network.name);
    // A block is long enough for several runs of each of a thousand tasks on ten connections.
    let length = bench.effort.block * if tasks > 256 { 50 } else { 10 };
    for (_, variant) in variants {
        rate(std::iter::once(variant.pair(0)), length / 10).await;
    }
    for index in in_rotation(bench, &what, bench.effort.fewer_rounds(5), variants.len()) {
        let keys = 0..i64::try_from(tasks).expect("BUG: a few tasks");
        let pairs = keys.map(|key| variants[index].1.pair(key));
        samples[index].push(vec![rate(pairs, length).await]);
    }
    samples
}

fn add_rows(
    table: &mut Table,
    network: &Network,
    tasks: usize,
    variants: &[(&str, Variant)],
    samples: &[Sample],
) {
    for (index, ((name, _), sample)) in variants.iter().zip(samples).enumerate() {
        let (low, high) = sample.spread();
        let ratio = || format!("{} ×", three_digits(sample.ratio_to(&samples[1])));
        table.row([
            network.name.to_owned(),
            tasks.to_string(),
            (*name).to_owned(),
            thousands(sample.median()),
            format!("{} – {}", thousands(low), thousands(high)),
            if index == 1 { String::new() } else { ratio() },
        ]);
    }
}
