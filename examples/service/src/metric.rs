//! Counts and durations of acquires, for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use crate::router::App;

/// The upper bounds of the histogram buckets in seconds, from a free lock to a long wait.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// How often recorded durations are aggregated. Without it, they would accumulate until the next
/// scrape.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder that the metrics of `advisory_core` use.
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
