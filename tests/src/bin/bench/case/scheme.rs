//! How long it takes to make a key of a name.

use std::hint::black_box;
use std::time::{Duration, Instant};

use advisory_core::{Key, KeyScheme, scheme};

use crate::Bench;
use crate::contest::{Lane, measure};
use crate::report::{Part, Report, Table};
use crate::sample::Nanoseconds;

/// So many names are one measurement.
const NAMES: u32 = 200;
/// As long as names are.
const NAME: &str = "sync_client(4711)";

pub(crate) async fn run(bench: &Bench) -> Report {
    let mut lanes = vec![
        lane("`Sha1`, the default", |name| scheme::Sha1.key(name)),
        lane("`Sha256`", |name| scheme::Sha256.key(name)),
        lane("`Md5`", |name| scheme::Md5.key(name)),
        lane("`Crc32`", |name| scheme::Crc32.key(name)),
    ];
    lanes.extend(scheme::systems().map(|system| {
        lane(&format!("`{}`", system.scheme), move |name| {
            KeyScheme::key(&system, name)
        })
    }));
    let samples = measure(bench, "scheme", &mut lanes).await;
    let mut table = Table::new(["scheme", "for a name", "middle half of the blocks"]);
    for (lane, sample) in lanes.iter().zip(&samples) {
        let (low, high) = sample.spread();
        table.row([
            lane.name.clone(),
            Nanoseconds(sample.median()).to_string(),
            format!("{} – {}", Nanoseconds(low), Nanoseconds(high)),
        ]);
    }
    Report {
        parts: vec![Part::new("scheme", table)],
        ..Report::default()
    }
}

fn lane(name: &str, key: impl Fn(&str) -> Key + Clone + Send + Sync + 'static) -> Lane {
    Lane::timed(name, move || {
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
