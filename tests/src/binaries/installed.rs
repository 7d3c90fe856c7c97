//! The server binaries that are installed on this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::folder::Binaries;
use super::version::{OLDEST_MAJOR, Version};
use crate::process::Account;

/// The folders in which distributions install server binaries, besides `PATH`.
const FOLDERS: [&str; 12] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/lib64/postgresql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/Library/PostgreSQL/*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The newest installed binaries, or the newest of one major version. Each folder without suitable
/// binaries is added to `tried`.
pub(crate) fn newest(
    account: &Account,
    major: Option<u32>,
    tried: &mut Vec<String>,
) -> Option<Binaries> {
    let mut found: Vec<Binaries> = Vec::new();
    for folder in folders(tried) {
        match Binaries::in_folder(&folder, account) {
            Ok(binaries) if is_wanted(binaries.version, major) => found.push(binaries),
            Ok(binaries) => tried.push(format!(
                "{}: PostgreSQL {}",
                folder.display(),
                binaries.version
            )),
            Err(reason) => tried.push(format!("{}: {reason}", folder.display())),
        }
    }
    // `max_by_key` returns the last of equal elements. The reversal makes it the first one found,
    // so that `PATH` has priority over the folders.
    found
        .into_iter()
        .rev()
        .max_by_key(|binaries| binaries.version)
}

fn is_wanted(version: Version, major: Option<u32>) -> bool {
    major.map_or(version.major >= OLDEST_MAJOR, |major| {
        version.major == major
    })
}

/// Every folder with a server, each once, in order of preference.
fn folders(tried: &mut Vec<String>) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = FOLDERS
        .iter()
        .flat_map(|pattern| glob::glob(pattern).into_iter().flatten().flatten());
    let sources = [
        ("`PATH`".to_owned(), std::env::split_paths(&path).collect()),
        (
            "`pg_config --bindir`".to_owned(),
            pg_config().into_iter().collect(),
        ),
        (FOLDERS.join(", "), usual.collect::<Vec<_>>()),
    ];
    let mut folders = Vec::new();
    for (source, candidates) in sources {
        let found: Vec<_> = candidates
            .iter()
            .filter_map(|folder| with_server(folder))
            .collect();
        if found.is_empty() {
            tried.push(format!("{source}: no folder with `initdb` and `postgres`"));
        }
        for folder in found {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

/// The folder of the programs with symbolic links resolved. PostgreSQL finds its own files relative
/// to that folder.
fn with_server(folder: &Path) -> Option<PathBuf> {
    let program = folder.join("postgres").canonicalize().ok()?;
    let folder = program.parent()?;
    folder.join("initdb").exists().then(|| folder.to_owned())
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(folder.trim_end()))
}
