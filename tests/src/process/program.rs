//! Programs of the machine that may be missing, or may not run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program of this name in the first folder where it runs. Some packages install a program that
/// only starts another one, which may not be there.
pub(crate) fn find(name: &str, folders: impl Iterator<Item = PathBuf>) -> Result<PathBuf, String> {
    let mut reason = format!("no `{name}` on this machine");
    for program in folders.map(|folder| folder.join(name)) {
        if !program.is_file() {
            continue;
        }
        match run(&program) {
            Ok(()) => return Ok(program),
            Err(error) => reason = format!("`{}` does not run: {error}", program.display()),
        }
    }
    Err(reason)
}

fn run(program: &Path) -> Result<(), String> {
    let mut command = Command::new(program);
    let command = command.arg("--version").stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().next().unwrap_or_default();
    Err(format!("{}: {first}", output.status))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder_with(script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }

    #[test]
    fn program_that_does_not_run_counts_as_missing() {
        let wrapper = folder_with("echo 'install the client package' >&2; exit 1");
        let tool = folder_with("exit 0");
        let folders = [&wrapper, &tool].map(|folder| folder.path().to_owned());
        let found = find("tool", folders.clone().into_iter());
        assert_eq!(found, Ok(tool.path().join("tool")));

        let missing = find("tool", folders.into_iter().take(1)).unwrap_err();
        assert!(missing.contains("install the client package"), "{missing}");
        assert_eq!(
            find("tool", std::iter::empty()).unwrap_err(),
            "no `tool` on this machine"
        );
    }
}
