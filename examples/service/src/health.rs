//! Whether to send requests here, and whether to start the process anew.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgPool;
use tokio::time::timeout;

use crate::router::App;

/// How long a request may be expected to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process runs. Whether the database does is no reason to start the process anew.
pub(crate) async fn live() -> &'static str {
    "alive"
}

/// 200 if the pool has given a connection that answers, within a second; 503 if not. A pool whose
/// connections all wait for locks is not ready, and the requests go to an instance that is.
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let pool = json!({
        "size": app.pool.size(),
        "idle": app.pool.num_idle(),
        "max": app.pool.options().get_max_connections(),
    });
    let (status, reason) = match timeout(PATIENCE, ping(&app.pool)).await {
        Ok(Ok(())) => (StatusCode::OK, "ready".to_owned()),
        Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(_elapsed) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no connection in {PATIENCE:?}"),
        ),
    };
    (status, Json(json!({ "status": reason, "pool": pool })))
}

async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    pool.acquire().await?.ping().await
}
