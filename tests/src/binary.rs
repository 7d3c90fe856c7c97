//! The server binaries of this machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account::Account;
use crate::version::Version;

/// The oldest major version that will do.
pub(crate) const OLDEST: u32 = 14;

/// Where distributions put server binaries, beside `PATH`.
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

/// A folder with `initdb` and `postgres`.
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) version: Version,
}

impl Binaries {
    /// Asks the server in `folder` for its version, under the account that is going to run it.
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

/// The newest of this machine, or the newest of one major version. What was looked at in vain goes to `tried`.
pub(crate) fn on_machine(
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
    // Of equals, the first stays: `PATH` goes before the folders.
    found
        .into_iter()
        .rev()
        .max_by_key(|binaries| binaries.version)
}

fn is_wanted(version: Version, major: Option<u32>) -> bool {
    major.map_or(version.major >= OLDEST, |major| version.major == major)
}

/// Every folder with a server in it, each once, in the order of preference.
fn folders(tried: &mut Vec<String>) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = FOLDERS
        .iter()
        .flat_map(|pattern| glob::glob(pattern).into_iter().flatten().flatten());
    let places = [
        ("`PATH`".to_owned(), std::env::split_paths(&path).collect()),
        (
            "`pg_config --bindir`".to_owned(),
            pg_config().into_iter().collect(),
        ),
        (FOLDERS.join(", "), usual.collect::<Vec<_>>()),
    ];
    let mut folders = Vec::new();
    for (place, candidates) in places {
        let found: Vec<_> = candidates
            .iter()
            .filter_map(|folder| with_server(folder))
            .collect();
        if found.is_empty() {
            tried.push(format!("{place}: no folder with `initdb` and `postgres`"));
        }
        for folder in found {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

/// The folder the programs are really in: PostgreSQL finds its own files relative to it.
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
