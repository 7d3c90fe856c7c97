//! A middleware of axum's that answers a repeated request as the first one.

use advisory_core::{Error, advisory};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sqlx::PgPool;

/// For `axum::middleware::from_fn_with_state(pool, idempotent)`.
pub async fn idempotent(
    State(pool): State<PgPool>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let key = request.headers().get("idempotency-key");
    match key.map(|key| key.to_str().map(str::to_owned)) {
        None => Ok(next.run(request).await),
        Some(Ok(key)) if key.len() <= 255 => answer_once(&pool, &key, request, next).await,
        Some(_) => Ok(StatusCode::BAD_REQUEST.into_response()),
    }
}

/// In the whole fleet, one request at a time runs this for each key.
#[advisory(key = "idempotency:{key}", timeout = 5)]
async fn answer_once(
    pool: &PgPool,
    key: &str,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let known = "SELECT status, body FROM answer WHERE key = $1";
    let known: Option<(i32, Vec<u8>)> =
        sqlx::query_as(known).bind(key).fetch_optional(pool).await?;
    if let Some((status, body)) = known {
        let status = u16::try_from(status).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Ok((status, body).into_response());
    }
    let (parts, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, 1 << 20).await.map_err(|_| Failure::Other)?;
    // A failed request may be repeated.
    if parts.status.is_success() {
        let insert = sqlx::query("INSERT INTO answer (key, status, body) VALUES ($1, $2, $3)");
        let insert = insert.bind(key).bind(i32::from(parts.status.as_u16()));
        insert.bind(&body[..]).execute(pool).await?;
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

#[derive(Debug)]
pub enum Failure {
    /// The first request still runs.
    Busy,
    Other,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_not_acquired() {
            Self::Busy
        } else {
            Self::Other
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(_: sqlx::Error) -> Self {
        Self::Other
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Busy => (StatusCode::CONFLICT, [("retry-after", "5")]).into_response(),
            Self::Other => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
