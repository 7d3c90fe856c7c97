//! The providers of webhooks, and the header in which each sends the delivery id.

use std::fmt;

use axum::http::HeaderMap;

use crate::problem::Problem;

/// The most bytes of a delivery id. An entry of the primary key holds about 2,700.
pub(crate) const MAX_ID: usize = 255;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Provider {
    GitHub,
    GitLab,
    /// Any provider that follows <https://www.standardwebhooks.com>.
    Standard,
}

impl Provider {
    pub(crate) fn named(name: &str) -> Result<Self, Problem> {
        match name {
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "standard" => Ok(Self::Standard),
            _ => Err(Problem::UnknownProvider),
        }
    }

    /// Returns the delivery id, which is the same for each repetition of a delivery.
    pub(crate) fn delivery_id(self, headers: &HeaderMap) -> Result<&str, Problem> {
        let header = match self {
            Self::GitHub => "x-github-delivery",
            Self::GitLab => "idempotency-key",
            Self::Standard => "webhook-id",
        };
        let value = headers.get(header).and_then(|value| value.to_str().ok());
        let id = value.filter(|id| !id.is_empty() && id.len() <= MAX_ID);
        id.ok_or(Problem::NoDeliveryId { header })
    }
}

/// The name in the path, in the table and in the lock's name. It must not change, because instances
/// of an older version use the same locks.
impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Standard => "standard",
        })
    }
}
