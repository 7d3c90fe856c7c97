//! The routes and their handlers.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::postgres::PgPool;

use crate::config::Config;
use crate::pool::Pools;
use crate::{health, metric, webhook};

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: PgPool,
    pub(crate) lock_timeout: Duration,
    pub(crate) metrics: PrometheusHandle,
}

pub(crate) fn router(config: &Config, pools: &Pools, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/webhooks/{provider}", post(webhook::post))
        .route("/healthz", get(health::ready))
        .route("/healthz/live", get(health::live))
        .route("/metrics", get(metric::render))
        .with_state(App {
            pool: pools.work.clone(),
            lock_timeout: config.turn,
            metrics,
        })
}
