//! Webhook deliveries. Each delivery arrives at least once, and is processed exactly once.

use std::time::Duration;

use advisory_core::{Error, advisory};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgTransaction};
use tracing::{Instrument as _, info_span};

use crate::jsonb;
use crate::problem::Problem;
use crate::provider::Provider;
use crate::router::App;

/// The outcome of a delivery.
pub(crate) enum Receipt {
    Accepted,
    /// The delivery was accepted before.
    Known,
}

/// Responds with 201 to the first request of a delivery, and with 200 to each repetition. If the
/// client disconnects before the response, hyper drops this future, which ends the wait, rolls back
/// the transaction and releases the lock.
pub(crate) async fn post(
    State(app): State<App>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let provider = Provider::named(&provider)?;
    let id = provider.delivery_id(&headers)?;
    jsonb::check(&event)?;
    let span = info_span!("webhook", %provider, id);
    let received = receive(&app.pool, provider, id, &event, app.lock_timeout);
    Ok(match received.instrument(span).await? {
        Receipt::Accepted => (StatusCode::CREATED, Json(json!({ "accepted": id }))),
        Receipt::Known => (StatusCode::OK, Json(json!({ "known": id }))),
    })
}

/// Stores a delivery. In the whole fleet, one request at a time runs this for each delivery. `tx`
/// holds the lock, and is committed before the next request acquires the lock.
#[advisory(key = "webhook:{provider}:{id}", timeout = lock_timeout, tx)]
async fn receive(
    pool: &PgPool,
    provider: Provider,
    id: &str,
    event: &Value,
    lock_timeout: Duration,
) -> Result<Receipt, Error> {
    if is_known(tx, provider, id).await? {
        return Ok(Receipt::Known);
    }
    // Other effects of the delivery belong here, in `tx`: they are committed together with the row.
    let insert =
        sqlx::query("INSERT INTO delivery (provider, id, event) VALUES ($1, $2, $3::jsonb)");
    let insert = insert
        .bind(provider.to_string())
        .bind(id)
        .bind(event.to_string());
    insert.execute(&mut **tx).await?;
    Ok(Receipt::Accepted)
}

async fn is_known(tx: &mut PgTransaction<'_>, provider: Provider, id: &str) -> Result<bool, Error> {
    let known = sqlx::query("SELECT FROM delivery WHERE provider = $1 AND id = $2");
    let known = known.bind(provider.to_string()).bind(id);
    Ok(known.fetch_optional(&mut **tx).await?.is_some())
}
