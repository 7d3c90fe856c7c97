//! Programs of the machine, which may be missing or may fail.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The program of this name in the first folder where it runs. Some packages install a program that
/// only starts another one, which may not be there.
pub(crate) fn find(name: &str, folders: impl Iterator<Item = PathBuf>) -> Result<PathBuf, String> {
    let mut reason = format!("no `{name}` on this machine");
    for program in folders.map(|folder| folder.join(name)) {
        if !program.is_file() {
            continue;
        }
        match output(Command::new(&program).arg("--version")) {
            Ok(_) => return Ok(program),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

/// The output of a command that succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`{program}`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        let reason = error.trim().replace('\n', "; ");
        let reason: String = reason.chars().take(400).collect();
        Err(format!("`{program}`: {}: {reason}", output.status))
    }
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
