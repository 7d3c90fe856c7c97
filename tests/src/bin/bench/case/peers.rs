//! Packages that do the same, each in a process of its own that times itself: same server, same proxy, in turns with ours.

use advisory_core::AdvisoryLock;
use advisory_tests::foreign_client::{ForeignClient, Runtime, python, rust};
use advisory_tests::{Database, Proxy};
use sqlx::PgPool;

use crate::Bench;
use crate::contest::{Lane, measure};
use crate::place::Place;
use crate::report::{Part, Report, Table};
use crate::trips::{count, counter};

use super::session::acquiring;
use super::transaction::{TIMEOUT, whole};

/// What a row is called, and the class of `tests/originals` behind it.
const OF_PYTHON: [(&str, &str); 6] = [
    ("django-pglock, session", "DjangoPglock"),
    ("django-pglock, session, timeout", "DjangoPglockTimeout"),
    ("django-pglock, transaction", "DjangoPglockXact"),
    (
        "django-pglock, transaction, timeout",
        "DjangoPglockXactTimeout",
    ),
    ("sqlalchemy-dlock, session", "SqlalchemyDlock"),
    ("sqlalchemy-dlock, transaction", "SqlalchemyDlockXact"),
];
const OF_RUST: [(&str, &str); 2] = [
    ("distributed-lock-postgres, session", "DistributedLock"),
    (
        "distributed-lock-postgres, transaction",
        "DistributedLockXact",
    ),
];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let (proxy, counted) = counter(&database).await;
    let rivals = rivals(bench);
    let mut by_proxy = ours(&counted.pool().await);
    by_proxy.extend(theirs(&rivals, &database, Some(&proxy)).await);
    let trips = count(&proxy, &mut by_proxy).await;
    let mut lanes = ours(&Place(database.options()).pool().await);
    let against: Vec<_> = lanes
        .iter()
        .map(|_| None)
        .chain(rivals.iter().map(|rival| Some(place_of_ours(rival.name))))
        .collect();
    lanes.extend(theirs(&rivals, &database, None).await);
    let samples = measure(bench, "peers", &mut lanes).await;
    let table = Table::of_contest(&lanes, &samples, &trips, &against);
    let mut part = Part::new("peers", table);
    for skipped in skipped(&rivals) {
        part = part.note(format!(
            "Not measured: {skipped}, which is not to be had here."
        ));
    }
    Report {
        parts: vec![part],
        ..Report::default()
    }
}

struct Rival {
    name: &'static str,
    class: &'static str,
    runtime: Runtime,
}

/// What can be had. Rust's has to be compiled first, which a look whether everything works does not wait for.
fn rivals(bench: &Bench) -> Vec<Rival> {
    bench.say("peers: installing");
    let of_rust = if bench.effort.is_smoke { None } else { rust() };
    let of = |names: &[(&'static str, &'static str)], runtime: Option<Runtime>| {
        let rival = |(name, class): &(&'static str, &'static str)| {
            let runtime = runtime.clone()?;
            Some(Rival {
                name,
                class,
                runtime,
            })
        };
        names.iter().filter_map(rival).collect::<Vec<_>>()
    };
    let mut all = of(&OF_RUST, of_rust);
    all.extend(of(&OF_PYTHON, python()));
    all
}

fn skipped(rivals: &[Rival]) -> Vec<&'static str> {
    let all = OF_RUST.iter().chain(&OF_PYTHON).map(|(name, _)| *name);
    all.filter(|name| rivals.iter().all(|rival| rival.name != *name))
        .collect()
}

async fn theirs(rivals: &[Rival], database: &Database, proxy: Option<&Proxy>) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for rival in rivals {
        let libpq = proxy.map_or_else(|| database.libpq(), |proxy| proxy.libpq(database));
        let client = ForeignClient::start_with(&rival.runtime, rival.class, libpq).await;
        lanes.push(Lane::elsewhere(rival.name, client));
    }
    lanes
}

/// The row of ours that does what this one does.
fn place_of_ours(name: &str) -> usize {
    match (name.contains("transaction"), name.contains("timeout")) {
        (false, false) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
    }
}

fn ours(pool: &PgPool) -> Vec<Lane> {
    let lock = AdvisoryLock::new("bench:peers");
    let patient = lock.clone().timeout(TIMEOUT);
    vec![
        acquiring("ours, session", pool, &lock),
        acquiring("ours, session, timeout", pool, &patient),
        whole("ours, transaction", pool, &lock),
        whole("ours, transaction, timeout", pool, &patient),
    ]
}
