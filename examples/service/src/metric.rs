//! Counts and times, for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use crate::router::App;

/// Seconds: from a lock that is free to one that is hardly ever.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// How often what has been recorded is condensed, also if nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder that `advisory_core` records with.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS)?;
    let handle = builder.install_recorder()?;
    advisory_core::describe_metrics();
    tokio::spawn(upkeep(handle.clone()));
    Ok(handle)
}

async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

pub(crate) async fn render(State(app): State<App>) -> impl IntoResponse {
    let format = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([format], app.metrics.render())
}
