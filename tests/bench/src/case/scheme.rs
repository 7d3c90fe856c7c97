//! The time to compute the key of a name.

use std::hint::black_box;
use std::time::{Duration, Instant};

use advisory_core::{Key, KeyScheme, scheme};

use crate::Bench;
use crate::comparison::{Workload, measure};
use crate::report::{Part, Report};
use crate::sample::{Nanoseconds, Sample};

/// The number of names in one measurement.
const NAMES: u32 = 200;
/// A name of usual length.
const NAME: &str = "sync_client(4711)";

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut workloads = vec![
        workload("`Sha1`, the default", |name| scheme::Sha1.key(name)),
        workload("`Sha256`", |name| scheme::Sha256.key(name)),
        workload("`Md5`", |name| scheme::Md5.key(name)),
        workload("`Crc32`", |name| scheme::Crc32.key(name)),
    ];
    workloads.extend(scheme::systems().map(|system| {
        workload(&format!("`{}`", system.scheme), move |name| {
            KeyScheme::key(&system, name)
        })
    }));
    let samples = measure(bench, "scheme", &mut workloads).await;
    let mut rows: Vec<_> = workloads.iter().zip(&samples).collect();
    rows[1..].sort_by(|(_, one), (_, other)| one.median().total_cmp(&other.median()));
    let shown = |(workload, sample): &(&Workload, &Sample)| {
        format!("{} for {}", Nanoseconds(sample.median()), workload.name)
    };
    let [default, fastest, .., slowest] = rows.as_slice() else {
        unreachable!("BUG: there are many schemes")
    };
    let text = format!(
        "The key of `{NAME}` takes {}. The other schemes take from {} to {}.",
        shown(default),
        shown(fastest),
        shown(slowest)
    );
    Part::text("scheme", text).into()
}

fn workload(name: &str, key: impl Fn(&str) -> Key + Clone + Send + Sync + 'static) -> Workload {
    Workload::timed(name, move || {
        let key = key.clone();
        async move { keys(&key) }
    })
}

fn keys(key: &impl Fn(&str) -> Key) -> Duration {
    let start = Instant::now();
    for _ in 0..NAMES {
        black_box(key(black_box(NAME)));
    }
    start.elapsed() / NAMES
}
