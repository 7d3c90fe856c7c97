//! Errors become answers.

use advisory_core::Error;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not done.
#[derive(Debug)]
pub(crate) enum Problem {
    UnknownProvider,
    NoDeliveryId { header: &'static str },
    Failed(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What goes by itself is a 503 that says when to come again, and providers do. Who holds which
/// lock is for the log.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::UnknownProvider => answer(StatusCode::NOT_FOUND, "no such provider"),
            Self::NoDeliveryId { header } => answer(
                StatusCode::BAD_REQUEST,
                &format!("expected a header `{header}`"),
            ),
            Self::Failed(error) if is_passing(&error) => {
                tracing::warn!(%error, "come again");
                let busy = answer(StatusCode::SERVICE_UNAVAILABLE, "busy; come again");
                ([(header::RETRY_AFTER, "1")], busy).into_response()
            }
            Self::Failed(error) => {
                tracing::error!(%error, "failed");
                answer(StatusCode::INTERNAL_SERVER_ERROR, "failed")
            }
        }
    }
}

fn answer(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Whether the same request may well succeed in a moment.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::NotAcquired { .. }
        | Error::Deadlock { .. }
        | Error::LockTableFull
        | Error::Lost { .. } => true,
        Error::Database(sqlx::Error::Database(error)) => {
            error.code().is_some_and(|code| is_of_the_moment(&code))
        }
        Error::Database(error) => matches!(
            error,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut
        ),
        // A standby, a server that locks nothing: somebody has to see to it.
        _ => false,
    }
}

/// SQLSTATEs of a lost connection, a rollback, a lack of resources, an operator.
fn is_of_the_moment(sqlstate: &str) -> bool {
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
    fn what_passes_is_unavailable_and_what_does_not_is_an_error() {
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
    fn a_unique_violation_does_not_pass() {
        assert!(is_of_the_moment("57P01") && !is_of_the_moment("23505"));
    }
}
