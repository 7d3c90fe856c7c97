//! Lock packages of other languages, each in a process that times itself. They use the same server
//! and proxy as our workloads.

use advisory_core::AdvisoryLock;
use advisory_tests::foreign_client::{ForeignClient, Runtime, python, rust};
use advisory_tests::{Database, Proxy};
use futures_util::future::join_all;
use sqlx::PgPool;

use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::endpoint::Endpoint;
use crate::report::{Part, Report, Table};
use crate::round_trips::{count, counting_proxy};

use super::session::acquire;
use super::transaction::{TIMEOUT, transaction};

/// The name of a row, and its class in `tests/originals`.
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
    let (proxy, counted) = counting_proxy(&database).await;
    let rivals = rivals(bench);
    let mut by_proxy = ours(&counted.pool().await);
    by_proxy.extend(theirs(&rivals, &database, Some(&proxy)).await);
    let round_trips = count(&proxy, &mut by_proxy).await;
    let mut workloads = ours(&Endpoint(database.options()).pool().await);
    workloads.extend(theirs(&rivals, &database, None).await);
    let samples = measure(bench, "peers", &mut workloads).await;
    let table = Table::of_comparison(&workloads, &samples, &round_trips);
    let mut part = Part::new("peers", table);
    for skipped in skipped(&rivals) {
        part = part.note(format!(
            "Not measured: {skipped}. The package is not available on this machine."
        ));
    }
    part.into()
}

struct Rival {
    name: &'static str,
    class: &'static str,
    runtime: Runtime,
}

/// The available packages. Those of Rust have to be compiled first, which a smoke run does not wait
/// for.
fn rivals(bench: &Bench) -> Vec<Rival> {
    bench.set_progress("peers: installing");
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

async fn theirs(rivals: &[Rival], database: &Database, proxy: Option<&Proxy>) -> Vec<Workload> {
    // All at once: it takes a while until an interpreter has loaded a package.
    let workloads = rivals.iter().map(async |rival| {
        let libpq = proxy.map_or_else(|| database.libpq(), |proxy| proxy.libpq(database));
        let client = ForeignClient::start_with(&rival.runtime, rival.class, libpq).await;
        let workload = Workload::foreign(rival.name, client);
        workload.against(index_of_ours(rival.name))
    });
    join_all(workloads).await
}

/// The index of our row with the same scope and timeout.
fn index_of_ours(name: &str) -> usize {
    match (name.contains("transaction"), name.contains("timeout")) {
        (false, false) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
    }
}

fn ours(pool: &PgPool) -> Vec<Workload> {
    let lock = AdvisoryLock::new("bench:peers");
    let patient = lock.clone().timeout(TIMEOUT);
    vec![
        Workload::with_lock("ours, session", pool, &lock, acquire),
        Workload::with_lock("ours, session, timeout", pool, &patient, acquire),
        Workload::with_lock("ours, transaction", pool, &lock, transaction),
        Workload::with_lock("ours, transaction, timeout", pool, &patient, transaction),
    ]
}
