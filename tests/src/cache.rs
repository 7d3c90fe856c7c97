//! Where fetched things are kept: outside the repository, readable by the account that runs servers.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::account::Account;

/// The folder for what is fetched from outside, made if need be: below `XDG_CACHE_HOME`, or in `/var/cache` for root.
///
/// # Errors
///
/// If it cannot be made, and what to set.
pub fn cache_folder() -> Result<PathBuf, String> {
    cache(&Account::for_server()?)
}

pub(crate) fn cache(account: &Account) -> Result<PathBuf, String> {
    let ours = etcetera::choose_base_strategy()
        .map(|base| base.cache_dir())
        .map_err(|error| error.to_string());
    let base = match ours {
        Ok(base) if !account.is_other() || is_open_to_others(&base) => base,
        Err(reason) if !account.is_other() => return Err(reason),
        _ => PathBuf::from("/var/cache"), // root's home is closed to the server's account
    };
    let cache = base.join("advisory-tests");
    let made = fs::create_dir_all(&cache)
        .and_then(|()| fs::set_permissions(&cache, Permissions::from_mode(0o755)));
    made.map_err(|error| {
        format!(
            "{}: {error}; set `XDG_CACHE_HOME` to a folder to keep it in",
            cache.display()
        )
    })?;
    Ok(cache)
}

fn is_open_to_others(folder: &Path) -> bool {
    let is_open = |folder: &Path| {
        fs::metadata(folder).map_or(true, |found| found.permissions().mode() & 0o001 != 0)
    };
    folder.ancestors().all(is_open)
}
