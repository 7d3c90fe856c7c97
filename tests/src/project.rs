//! Projects that depend on the crates of this workspace, as users write them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The features of sqlx that most projects choose.
pub const SQLX_FEATURES: &str = r#"["postgres", "macros", "runtime-tokio"]"#;

/// The root of this workspace.
///
/// # Panics
///
/// Never.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("BUG: a package is in a folder")
}

/// The line of a manifest that depends on `advisory-core` by its path.
pub fn by_path(features: &str) -> String {
    let path = workspace().join("advisory-core");
    let path = path.display();
    format!("advisory-core = {{ path = \"{path}\", features = [{features}] }}\n")
}

/// A project with sqlx.
pub struct Project {
    folder: PathBuf,
    target: PathBuf,
}

impl Project {
    /// Writes a project into a folder: with these features of sqlx, the dependencies in `more`, and
    /// the versions of this workspace, so that it does not depend on the registry. It is built into
    /// the folder `target`.
    ///
    /// # Panics
    ///
    /// If the files cannot be written.
    pub fn write(folder: &Path, target: &Path, sqlx: &str, more: &str, main: &str) -> Self {
        let manifest = format!(
            "[package]\nname = \"somebody\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\nsqlx = {{ version = \"0.9\", default-features = false, features = {sqlx} }}\n{more}"
        );
        std::fs::create_dir_all(folder.join("src"))
            .and_then(|()| std::fs::write(folder.join("Cargo.toml"), manifest))
            .and_then(|()| std::fs::write(folder.join("src/main.rs"), main))
            .and_then(|()| std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")))
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self {
            folder: folder.to_owned(),
            target: target.to_owned(),
        }
    }

    /// A call of cargo in the project.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        cargo(&self.folder, &self.target, arguments)
    }

    /// The crates of the project, including the project itself.
    ///
    /// # Panics
    ///
    /// If cargo fails.
    pub fn crates(&self) -> BTreeSet<String> {
        let tree = ["tree", "--edges", "normal,build", "--prefix", "none"];
        let output = succeed(self.cargo(&tree).args(["--no-dedupe", "--format", "{p}"]));
        let tree = String::from_utf8_lossy(&output.stdout);
        let crate_of = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let lines = tree.lines().filter(|line| !line.is_empty());
        lines.map(crate_of).collect()
    }
}

/// A call of cargo in a folder.
pub fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args(arguments)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null());
    command
}

/// The output of a command that must succeed.
///
/// # Panics
///
/// If the command fails. The message has its errors.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    output
}
