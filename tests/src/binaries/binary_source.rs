//! The choice between the machine's own binaries and a prebuilt release.

use super::folder::Binaries;
use super::{installed, prebuilt};
use crate::environment::{database_url, setting};
use crate::error::StartError;
use crate::process::Account;

/// The sources that the environment variables allow.
struct BinarySource {
    /// The only major version that is allowed, if there is one.
    major: Option<u32>,
    excludes_installed: bool,
}

impl BinarySource {
    fn from_env() -> Result<Self, StartError> {
        // sqlx sends the value to the server with every connection, and has no option not to.
        setting(
            "PGOPTIONS",
            "nothing, since it would change every session of the tests,",
            |_| None::<()>,
        )?;
        let major = setting(
            "ADVISORY_POSTGRES_VERSION",
            "a major version from `14` to `18`",
            |value| value.parse().ok().filter(|major| (14..=18).contains(major)),
        )?;
        let fetch = setting("ADVISORY_POSTGRES", "`fetch`", |value| {
            (value == "fetch").then_some(())
        })?;
        Ok(Self {
            major,
            excludes_installed: fetch.is_some(),
        })
    }
}

/// The binaries to run under `account`.
///
/// # Errors
///
/// If an environment variable is invalid, or no source has binaries.
pub(crate) fn find(account: &Account) -> Result<Binaries, StartError> {
    let source = BinarySource::from_env()?;
    let mut tried = Vec::new();
    if database_url().is_none() {
        tried.push("`ADVISORY_DATABASE_URL`: not set".to_owned());
    }
    if source.excludes_installed {
        tried.push("the machine's own: excluded by `ADVISORY_POSTGRES`".to_owned());
    } else if let Some(binaries) = installed::newest(account, source.major, &mut tried) {
        return Ok(binaries);
    }
    prebuilt::newest(account, source.major).map_err(|reason| {
        tried.push(reason);
        StartError::NoServer { tried }
    })
}
