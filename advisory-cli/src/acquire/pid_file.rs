//! The file with the process id of `hold`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use crate::exit::Failure;

/// A file with the id of this process. It is removed when this is dropped.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, over one that is there.
    pub(super) fn write(path: &Path) -> Result<Self, Failure> {
        fs::write(path, text()).map_err(|error| {
            let path = path.display();
            Failure::other(format!("the pid file {path} cannot be written: {error}"))
        })?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have written the file since.
        if fs::read_to_string(&self.0).is_ok_and(|content| content == text()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn text() -> String {
    format!("{}\n", process::id())
}
