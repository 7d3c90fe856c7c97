//! A lock in a transaction, on a network with a delay.

use std::time::Duration;

use advisory_tests::{Database, Proxy};
use sqlx::Connection as _;

use super::transaction::{
    ATTRIBUTE, ATTRIBUTE_TIMEOUT, BY_HAND, BY_HAND_TIMEOUT, JOINED, PIPELINED, TRANSACTION,
    TRANSACTION_TIMEOUT, workloads,
};
use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::endpoint::Endpoint;
use crate::plot::{Plot, Shape};
use crate::report::{Part, Report, Table, Target};
use crate::sample::{Nanoseconds, Sample};

const EACH_WAY: Duration = Duration::from_millis(1);

pub(crate) async fn run(bench: &Bench) -> Report {
    let database = Database::on(&bench.server).await;
    let proxy = Proxy::start(&database).await;
    let endpoint = Endpoint(proxy.options());
    // Those of a local lock, and a bare round trip.
    let mut workloads = workloads(&endpoint).await;
    workloads.push(bare(&endpoint).await);
    proxy.set_delay(EACH_WAY);
    let samples = measure(bench, "network", &mut workloads).await;
    let round_trip = samples.last().expect("BUG: the last workload").median();
    let round_trips: Vec<_> = samples
        .iter()
        .map(|sample| Some(sample.median() / round_trip))
        .collect();
    let table = Table::of_comparison(&workloads, &samples, &round_trips);
    let note = format!(
        "In this table, *round trips* is the median divided by the median of the last row, {}. That median is longer than twice \
         the delay, because the timer of the proxy has a resolution of one millisecond.",
        Nanoseconds(round_trip)
    );
    Report {
        parts: vec![Part::new("network", table).note(note)],
        plots: vec![plot(&workloads, &samples)],
        targets: targets(&workloads, &samples),
    }
}

async fn bare(endpoint: &Endpoint) -> Workload {
    use sqlx::ConnectOptions as _;
    let conn = endpoint
        .0
        .connect()
        .await
        .expect("the database can be reached");
    let conn = std::sync::Arc::new(tokio::sync::Mutex::new(conn));
    Workload::new("one round trip: a ping", move || {
        let conn = conn.clone();
        async move {
            let answered = conn.lock().await.ping().await;
            answered.expect("the server answers");
        }
    })
}

fn plot(workloads: &[Workload], samples: &[Sample]) -> Plot {
    let rows = [
        PIPELINED,
        TRANSACTION,
        ATTRIBUTE,
        JOINED,
        BY_HAND,
        TRANSACTION_TIMEOUT,
        ATTRIBUTE_TIMEOUT,
        BY_HAND_TIMEOUT,
    ];
    let bar = |row: usize| {
        (
            workloads[row].name.replace('`', ""),
            samples[row].median() / 1e6,
        )
    };
    Plot {
        file: "performance-network",
        title: "One lock with 1 ms each way, from begin to commit",
        shape: Shape::Bars {
            unit: "ms",
            bars: rows.map(bar).into(),
        },
    }
}

fn targets(workloads: &[Workload], samples: &[Sample]) -> Vec<Target> {
    let rows = [
        ("`transaction`, timeout", TRANSACTION_TIMEOUT, 2.5),
        ("the attribute, timeout", ATTRIBUTE_TIMEOUT, 2.5),
        ("`transaction`", TRANSACTION, 1.4),
        ("the attribute", ATTRIBUTE, 1.4),
    ];
    let target = |(what, row, wanted): (&str, usize, f64)| {
        let rival = workloads[row]
            .rival
            .expect("BUG: a row of ours has a rival");
        // The ratio of locks per second, taken one after the other.
        let measured = samples[rival].ratio_to(&samples[row]);
        Target::at_least(
            format!("1 ms each way: {what}, relative to by hand"),
            wanted,
            measured,
        )
    };
    rows.map(target).into()
}
