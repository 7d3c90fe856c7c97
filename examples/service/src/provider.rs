//! Who sends webhooks, and where each says which delivery it is.

use std::fmt;

use axum::http::HeaderMap;

use crate::problem::Problem;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Provider {
    GitHub,
    GitLab,
    /// Whoever follows <https://www.standardwebhooks.com>.
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

    /// The same for each repetition of a delivery.
    pub(crate) fn delivery_id(self, headers: &HeaderMap) -> Result<&str, Problem> {
        let header = match self {
            Self::GitHub => "x-github-delivery",
            Self::GitLab => "idempotency-key",
            Self::Standard => "webhook-id",
        };
        let value = headers.get(header).and_then(|value| value.to_str().ok());
        let id = value.filter(|id| !id.is_empty());
        id.ok_or(Problem::NoDeliveryId { header })
    }
}

/// As in the path, in the table and in the lock's name, which is frozen.
impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Standard => "standard",
        })
    }
}
