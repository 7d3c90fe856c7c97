//! The log: one line for each acquire, when its span closes.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) fn start(filter: Targets) {
    let lines = layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_span_events(FmtSpan::CLOSE);
    registry().with(lines).with(filter).init();
}
