//! Conversion of errors into HTTP responses.

use advisory_core::{Error, UnsupportedReason};
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::provider::MAX_ID;

/// Why a request fails.
#[derive(Debug)]
pub(crate) enum Problem {
    UnknownProvider,
    NoDeliveryId { header: &'static str },
    NulCharacter,
    Failed(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A temporary error becomes a 503 with `Retry-After`, and providers then send the delivery again.
/// The holder of a lock is written to the log only.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::UnknownProvider => response(StatusCode::NOT_FOUND, "no such provider"),
            Self::NoDeliveryId { header } => response(
                StatusCode::BAD_REQUEST,
                &format!("expected a header `{header}` of 1 to {MAX_ID} bytes"),
            ),
            Self::NulCharacter => {
                response(StatusCode::BAD_REQUEST, "expected JSON without `\\u0000`")
            }
            Self::Failed(error) if is_temporary(&error) => {
                tracing::warn!(%error, "temporary failure; the client may retry");
                let busy = response(StatusCode::SERVICE_UNAVAILABLE, "busy; retry later");
                ([(header::RETRY_AFTER, "1")], busy).into_response()
            }
            Self::Failed(error) => {
                tracing::error!(%error, "the request has failed");
                response(StatusCode::INTERNAL_SERVER_ERROR, "failed")
            }
        }
    }
}

fn response(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Whether the same request may succeed if it is repeated.
fn is_temporary(error: &Error) -> bool {
    match error {
        Error::NotAcquired { .. }
        | Error::Deadlock { .. }
        | Error::LockTableFull
        | Error::Lost { .. } => true,
        // During a failover, a call may reach a standby.
        Error::Unsupported { reason, .. } => *reason == UnsupportedReason::Standby,
        Error::Database(sqlx::Error::Database(error)) => error
            .code()
            .is_some_and(|code| is_temporary_sqlstate(&code)),
        // A pool is closed when this instance shuts down; another one serves the request.
        Error::Database(error) => matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut
        ),
        // Others need a change of the configuration or the code.
        _ => false,
    }
}

/// Whether the class of a SQLSTATE is connection exception, transaction rollback, insufficient
/// resources, or operator intervention.
fn is_temporary_sqlstate(sqlstate: &str) -> bool {
    ["08", "40", "53", "57"]
        .iter()
        .any(|class| sqlstate.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: Error) -> StatusCode {
        Problem::from(error).into_response().status()
    }

    #[test]
    fn temporary_errors_are_503_and_others_are_500() {
        assert_eq!(
            status(sqlx::Error::PoolTimedOut.into()),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(
            status(sqlx::Error::RowNotFound.into()),
            StatusCode::INTERNAL_SERVER_ERROR
        );
        assert_eq!(
            status(Error::NotInTransaction),
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }

    #[test]
    fn a_unique_violation_is_not_temporary() {
        assert!(is_temporary_sqlstate("57P01") && !is_temporary_sqlstate("23505"));
    }
}
