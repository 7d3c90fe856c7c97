//! Locks on distinct keys over an increasing number of connections, compared with `pgbench` and the
//! same statements.

mod report;
mod variant;

use std::sync::Arc;
use std::time::Duration;

use advisory_tests::Database;

use crate::Bench;
use crate::comparison::in_rotation;
use crate::endpoint::Endpoint;
use crate::pgbench::Pgbench;
use crate::rate::rate;
use crate::report::{Part, Report};
use crate::sample::Sample;

use variant::{Connections, Runner, Variant, Work};

const CONNECTIONS: [u32; 6] = [1, 2, 4, 8, 16, 32];

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let pgbench = match Pgbench::find(&bench.server, &database) {
        Ok(pgbench) => pgbench,
        Err(reason) => {
            bench.notice(&format!("SKIPPED throughput: {reason}"));
            return Part::text("throughput", format!("Not measured: {reason}.")).into();
        }
    };
    let variants = variant::all(&database).await;
    let mut rows = Vec::new();
    for connections in bench.effort.sizes(&CONNECTIONS).iter().copied() {
        rows.push(compare(bench, &database, &pgbench, &variants, connections).await);
    }
    report::of(&variants, &rows)
}

async fn compare(
    bench: &Bench,
    database: &Database,
    pgbench: &Pgbench,
    variants: &[Variant],
    connections: u32,
) -> Vec<Sample> {
    let task_connections = open_connections(database, connections).await;
    let mut rows = vec![Sample::default(); variants.len()];
    let rounds = bench.effort.fewer_rounds(12);
    let what = format!("throughput, {connections} connections");
    for index in in_rotation(bench, &what, rounds, variants.len()) {
        let length = Duration::from_secs(u64::from(!bench.effort.is_smoke));
        let rate = match &variants[index].runner {
            Runner::InProcess(work) => locks_per_second(&task_connections, *work, length).await,
            Runner::Pgbench(script) => pgbench.run(script, connections, length).await,
        };
        rows[index].push(vec![rate]);
    }
    rows
}

async fn open_connections(database: &Database, connections: u32) -> Vec<Arc<Connections>> {
    let pool = Endpoint(database.options())
        .pool_of(connections, false)
        .await;
    let mut task_connections = Vec::new();
    for _ in 0..connections {
        task_connections.push(Arc::new(Connections {
            pool: pool.clone(),
            conn: tokio::sync::Mutex::new(database.connection().await),
        }));
    }
    task_connections
}

/// Locks per second, with one task for each element.
async fn locks_per_second(
    task_connections: &[Arc<Connections>],
    work: Work,
    length: Duration,
) -> f64 {
    let task = |task_connections: &Arc<Connections>| {
        let task_connections = Arc::clone(task_connections);
        move || work(Arc::clone(&task_connections), fastrand::i64(..))
    };
    rate(task_connections.iter().map(task), length).await
}
