//! The routes and their handlers.

use std::time::Duration;

use advisory_core::LockSession;
use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::postgres::PgPool;

use crate::config::Config;
use crate::pool::Pools;
use crate::{health, metric, tenant, webhook};

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: PgPool,
    /// All locks of tenants, on one connection.
    pub(crate) locks: LockSession,
    pub(crate) lock_timeout: Duration,
    pub(crate) metrics: PrometheusHandle,
}

pub(crate) fn router(config: &Config, pools: &Pools, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/webhooks/{provider}", post(webhook::post))
        .route("/tenants/{tenant}/import", post(tenant::import))
        .route("/healthz", get(health::ready))
        .route("/healthz/live", get(health::live))
        .route("/metrics", get(metric::render))
        .with_state(App {
            pool: pools.work.clone(),
            locks: pools.locks.clone(),
            lock_timeout: config.turn,
            metrics,
        })
}
