//! The process that cleans up behind us, whatever our end is.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use crate::account::Account;

/// A temporary folder, with a server in it or not, that goes when this is dropped, and when our process ends or is killed.
///
/// Nothing is left to us: the keeper makes the folder and starts the server, so there is no moment at which one of them
/// is there and nobody is charged with removing it.
pub(crate) struct Keeper {
    // Its other end is the keeper's standard input. std opens it close-on-exec: no other child of ours holds it open.
    ours: Option<ChildStdin>,
    child: Child,
    folder: PathBuf,
}

impl Keeper {
    /// Makes a folder.
    pub(crate) fn of_folder(account: &Account) -> Result<Self, String> {
        Self::start(account, Path::new(""), &[])
    }

    /// Makes a folder and starts a new server in it, whose data are in `data` and whose output is in `log`. The file
    /// `exit` appears when the server ends.
    pub(crate) fn of_server(
        account: &Account,
        binaries: &Path,
        arguments: &[String],
    ) -> Result<Self, String> {
        Self::start(account, binaries, arguments)
    }

    fn start(account: &Account, binaries: &Path, arguments: &[String]) -> Result<Self, String> {
        let mut child = account
            .command("/bin/sh")
            .args(["-c", include_str!("keeper.sh"), "advisory-keeper"])
            .args([&base(), binaries])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C goes to the group in the foreground. It must not reach the keeper, which has work to do then.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`/bin/sh`: {error}"))?;
        let mut line = String::new();
        let output = child.stdout.take().expect("BUG: the output is piped");
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        let folder = PathBuf::from(line.trim_end_matches('\n'));
        let keeper = Self {
            ours: child.stdin.take(),
            child,
            folder,
        };
        if keeper.folder.is_absolute() {
            Ok(keeper)
        } else {
            Err(format!("no temporary folder: {line}"))
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.ours.take());
        // An error means that there is nothing to wait for.
        let _ = self.child.wait();
    }
}

/// The system's folder for temporary files, unless it leaves no room for a socket's path, which holds 107 bytes.
fn base() -> PathBuf {
    const LONGEST: usize = 107 - "/advisory-XXXXXX/p999/.s.PGSQL.5432".len();
    let base = std::env::temp_dir();
    if base.is_absolute() && base.as_os_str().len() <= LONGEST {
        base
    } else {
        PathBuf::from("/tmp")
    }
}
