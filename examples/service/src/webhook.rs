//! Deliveries, of which each comes at least once and is dealt with exactly once.

use std::time::Duration;

use advisory_core::{Error, advisory};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgTransaction};
use tracing::{Instrument as _, info_span};

use crate::problem::Problem;
use crate::provider::Provider;
use crate::router::App;

/// What has become of a delivery.
pub(crate) enum Receipt {
    Accepted,
    /// It was here before.
    Known,
}

/// 201 for the first of its kind, 200 for each repetition. If the client goes before that, hyper
/// drops this future, and with it the wait, the transaction and the lock.
pub(crate) async fn post(
    State(app): State<App>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let provider = Provider::named(&provider)?;
    let id = provider.delivery_id(&headers)?;
    let span = info_span!("webhook", %provider, id);
    let received = receive(&app.pool, provider, id, &event, app.turn);
    Ok(match received.instrument(span).await? {
        Receipt::Accepted => (StatusCode::CREATED, Json(json!({ "accepted": id }))),
        Receipt::Known => (StatusCode::OK, Json(json!({ "known": id }))),
    })
}

/// One at a time for each delivery, in the whole fleet. `tx` holds the lock, and is committed
/// before the next one gets it.
#[advisory(key = "webhook:{provider}:{id}", timeout = turn, tx)]
async fn receive(
    pool: &PgPool,
    provider: Provider,
    id: &str,
    event: &Value,
    turn: Duration,
) -> Result<Receipt, Error> {
    if is_known(tx, provider, id).await? {
        return Ok(Receipt::Known);
    }
    // What a delivery leads to is done here, in `tx`: it happens with the row, or not at all.
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
