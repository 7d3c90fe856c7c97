//! A folder with the binaries of a server.

use std::path::{Path, PathBuf};

use super::version::Version;
use crate::process::Account;

/// A folder with `initdb` and `postgres`.
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) version: Version,
}

impl Binaries {
    /// Runs `postgres --version` in `folder`, under the account that will run the server.
    pub(crate) fn in_folder(folder: &Path, account: &Account) -> Result<Self, String> {
        let program = folder.join("postgres");
        let output = account
            .command(&program.to_string_lossy())
            .arg("--version")
            .output()
            .map_err(|error| format!("`postgres --version`: {error}"))?;
        let banner = String::from_utf8_lossy(&output.stdout);
        let version = Version::from_banner(&banner).ok_or_else(|| {
            format!(
                "`postgres --version`: {} {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            version,
        })
    }
}
