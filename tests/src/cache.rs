//! The folder for downloads. It is outside the repository, and the account that runs servers can
//! read it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::process::Account;

/// The folder for downloads, which is created if it does not exist. It is below `XDG_CACHE_HOME`,
/// or in `/var/cache` if this process runs as root.
///
/// # Errors
///
/// If the folder cannot be created. The message names the variable to set.
pub fn cache_folder() -> Result<PathBuf, String> {
    cache_folder_for(&Account::for_server()?)
}

/// As [`cache_folder`], for servers that run under `account`.
pub(crate) fn cache_folder_for(account: &Account) -> Result<PathBuf, String> {
    let ours = etcetera::choose_base_strategy()
        .map(|base| base.cache_dir())
        .map_err(|error| error.to_string());
    let base = match ours {
        Ok(base) if !account.is_other() || is_open_to_others(&base) => base,
        Err(reason) if !account.is_other() => return Err(reason),
        // The server's account cannot read the home folder of root.
        _ => PathBuf::from("/var/cache"),
    };
    let cache = base.join("advisory-tests");
    let created = fs::create_dir_all(&cache)
        .and_then(|()| fs::set_permissions(&cache, Permissions::from_mode(0o755)));
    created.map_err(|error| {
        format!(
            "{}: {error}; set `XDG_CACHE_HOME` to a folder for downloads",
            cache.display()
        )
    })?;
    Ok(cache)
}

/// Fills a new folder of the cache. `fill` works in a folder of its own, and returns the folder
/// that is then renamed into place, so that `folder` is never incomplete.
pub(crate) fn fill(
    cache: &Path,
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<PathBuf, String>,
) -> Result<(), String> {
    let scratch = tempfile::tempdir_in(cache).map_err(|error| error.to_string())?;
    match fs::rename(fill(scratch.path())?, folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(()), // our folder, or the folder of a process that was faster
    }
}

fn is_open_to_others(folder: &Path) -> bool {
    let is_open = |folder: &Path| {
        fs::metadata(folder).map_or(true, |found| found.permissions().mode() & 0o001 != 0)
    };
    folder.ancestors().all(is_open)
}
