//! Readiness, whether to route requests to this instance, and liveness, whether to restart it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgPool;
use tokio::time::timeout;

use crate::router::App;

/// How long the readiness check waits for a connection that answers.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers as long as the process runs. It does not check the database, because a restart of this
/// process would not repair the database.
pub(crate) async fn live() -> &'static str {
    "alive"
}

/// Responds with 200 if the pool returns a connection that answers within a second, and with 503 if
/// not. An instance whose connections all wait for locks is not ready, so that requests go to
/// another instance.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let pool = json!({
        "size": app.pool.size(),
        "idle": app.pool.num_idle(),
        "max": app.pool.options().get_max_connections(),
    });
    let (status, reason) = match timeout(PING_TIMEOUT, ping(&app.pool)).await {
        Ok(Ok(())) => (StatusCode::OK, "ready".to_owned()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(_elapsed) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no connection in {PING_TIMEOUT:?}"),
        ),
    };
    (status, Json(json!({ "status": reason, "pool": pool })))
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
