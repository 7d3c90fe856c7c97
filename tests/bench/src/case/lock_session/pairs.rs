//! Locks on distinct keys, taken and released by an increasing number of tasks.

use std::time::Duration;

use advisory_tests::{Database, Proxy};

use super::{CONNECTIONS, Variant};
use crate::Bench;
use crate::comparison::in_rotation;
use crate::endpoint::Endpoint;
use crate::one_core::OnOneCore;
use crate::plot::{Line, Plot, Shape};
use crate::rate::rate;
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Sample, count, thousands, three_digits};

/// The indexes of the variants.
const OURS: usize = 0;
const BY_HAND: usize = 1;
const IN_TURNS: usize = 2;

/// The numbers of tasks.
const TASKS: [usize; 5] = [1, 16, 64, 256, 1_000];

/// How the server is reached, and the least ratios to by hand with some numbers of tasks.
struct Network {
    name: &'static str,
    each_way: Duration,
    is_on_one_core: bool,
    tasks: &'static [usize],
    wanted: &'static [(usize, f64)],
}

const LOCAL: Network = Network {
    name: "local",
    each_way: Duration::ZERO,
    is_on_one_core: false,
    tasks: &TASKS,
    wanted: &[(64, 5.0)],
};
/// Without the time to wake up a sleeping core.
const ONE_CORE: Network = Network {
    name: "local, one core",
    is_on_one_core: true,
    tasks: &[1],
    wanted: &[(1, 1.5)],
    ..LOCAL
};
const NEAR: Network = Network {
    name: "0.25 ms each way",
    each_way: Duration::from_micros(250),
    wanted: &[],
    ..LOCAL
};
const FAR: Network = Network {
    name: "1 ms each way",
    each_way: Duration::from_millis(1),
    wanted: &[(64, 5.0), (1_000, 40.0)],
    ..LOCAL
};

pub(super) async fn measure(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let proxy = Proxy::start(&database).await;
    let direct = Variant::all(&Endpoint(database.options())).await;
    let delayed = Variant::all(&Endpoint(proxy.options())).await;
    let names = direct.iter().map(|(name, _)| (*name).to_owned());
    let head = ["locks per second", "tasks"].map(str::to_owned);
    let last = "`LockSession`, relative to `PgAdvisoryLock`".to_owned();
    let mut table = Table::new(head.into_iter().chain(names).chain([last]));
    let (mut lines, mut targets) = (Vec::new(), Vec::new());
    for network in [LOCAL, ONE_CORE, NEAR, FAR] {
        let is_delayed = !network.each_way.is_zero();
        proxy.set_delay(network.each_way);
        let variants = if is_delayed { &delayed } else { &direct };
        let _on_one_core = if network.is_on_one_core {
            open_all(variants, bench.effort.block).await;
            match OnOneCore::with(&database).await {
                Ok(on_one_core) => Some(on_one_core),
                Err(_) => continue,
            }
        } else {
            None
        };
        let mut points = variants.each_ref().map(|_| Vec::new());
        for tasks in bench.effort.sizes(network.tasks).iter().copied() {
            let samples = compare(bench, &network, variants, tasks).await;
            let ratio = samples[OURS].ratio_to(&samples[BY_HAND]);
            let rates = samples.iter().map(|sample| thousands(sample.median()));
            let first = [network.name.to_owned(), tasks.to_string()];
            let last = format!("{} ×", three_digits(ratio));
            table.row(first.into_iter().chain(rates).chain([last]));
            for (points, sample) in points.iter_mut().zip(&samples) {
                points.push((count(tasks), sample.median()));
            }
            let wanted = network.wanted.iter().find(|(of, _)| *of == tasks);
            targets.extend(wanted.map(|(_, wanted)| target(&network, tasks, *wanted, ratio)));
            if tasks == 1 && network.name == LOCAL.name {
                targets.push(near_the_floor(&samples));
            }
        }
        // The others would cover these.
        if [LOCAL.name, FAR.name].contains(&network.name) {
            let all = variants.iter().zip(points).enumerate();
            let shown = all.filter(|(variant, _)| *variant != IN_TURNS);
            lines.extend(shown.map(|(_, ((name, _), points))| Line {
                name: format!("{}, {}", name.replace('`', ""), network.name),
                points,
            }));
        }
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

fn target(network: &Network, tasks: usize, wanted: f64, ratio: f64) -> Target {
    let what = format!(
        "`LockSession`, {}, tasks: {tasks}, relative to `PgAdvisoryLock`",
        network.name
    );
    Target::at_least(what, wanted, ratio)
}

/// Two messages on a connection of one's own are the least that a lock and its release take.
fn near_the_floor(samples: &[Sample]) -> Target {
    let ratio = samples[OURS].ratio_to(&samples[IN_TURNS]);
    let what = "`LockSession`, local, tasks: 1, relative to two messages on one connection";
    Target::at_least(what, 0.8, ratio)
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
    let is_slow = tasks > 256 && !network.each_way.is_zero();
    let length = bench.effort.block * if is_slow { 50 } else { 10 };
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
