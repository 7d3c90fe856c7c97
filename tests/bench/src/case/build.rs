//! The cost that the crate adds to the build of a project that uses sqlx.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::Bench;
use crate::report::{Part, Report, Table};
use crate::sample::three_digits;

const SQLX: &str = r#"sqlx = { version = "0.9", default-features = false, features = ["postgres", "macros", "runtime-tokio"] }"#;

pub(crate) async fn run(bench: &Bench) -> Report {
    let projects = Projects::new();
    let [without, with] = [projects.crates("").await, projects.crates(&ours()).await];
    let mut part = {
        let mut table = Table::new(["project", "crates", "seconds of a first `cargo build`"]);
        let (first, more) = projects.seconds(bench).await;
        table.row(["with sqlx", &without.len().to_string(), &shown(first)]);
        table.row([
            "with sqlx and advisory-core",
            &with.len().to_string(),
            &shown(more.map(|more| first.unwrap_or_default() + more)),
        ]);
        table.row([
            "added",
            &with.difference(&without).count().to_string(),
            &shown(more),
        ]);
        Part::new("build", table)
    };
    let added: Vec<_> = with
        .difference(&without)
        .map(|name| format!("`{name}`"))
        .collect();
    part = part.note(format!("Added: {}.", added.join(", ")));
    part.into()
}

fn shown(seconds: Option<Duration>) -> String {
    seconds.map_or("not measured".to_owned(), |time| {
        three_digits(time.as_secs_f64())
    })
}

/// Two projects in a temporary folder.
struct Projects(tempfile::TempDir);

impl Projects {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be created"))
    }

    /// A project with sqlx and with the dependency `more`.
    fn project(&self, more: &str) -> PathBuf {
        let folder = self
            .0
            .path()
            .join(if more.is_empty() { "without" } else { "with" });
        let manifest = format!(
            "[package]\nname = \"somebody\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{SQLX}\n{more}"
        );
        std::fs::create_dir_all(folder.join("src"))
            .and_then(|()| std::fs::write(folder.join("Cargo.toml"), manifest))
            .and_then(|()| std::fs::write(folder.join("src/main.rs"), "fn main() {}\n"))
            // The versions of this workspace, which cargo has downloaded.
            .and_then(|()| std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")))
            .expect("a project can be written");
        folder
    }

    async fn crates(&self, more: &str) -> BTreeSet<String> {
        let tree = [
            "tree",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--no-dedupe",
            "--format",
            "{p}",
        ];
        let output = cargo(&self.project(more), &tree, &self.0.path().join("target")).await;
        let crate_of = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        output
            .lines()
            .filter(|line| !line.is_empty())
            .map(crate_of)
            .collect()
    }

    /// The durations of a build of the project with sqlx, and of a later build of the project with
    /// this crate as well.
    async fn seconds(&self, bench: &Bench) -> (Option<Duration>, Option<Duration>) {
        if bench.effort.is_smoke {
            return (None, None);
        }
        let target = self.0.path().join("target");
        let build = async |more: &str| {
            let project = self.project(more);
            let start = Instant::now();
            cargo(&project, &["build", "--quiet"], &target).await;
            start.elapsed()
        };
        bench.set_progress("build: a project with sqlx");
        let first = build("").await;
        bench.set_progress("build: a project with sqlx and advisory-core");
        (Some(first), Some(build(&ours()).await))
    }
}

/// The line of a manifest that depends on this crate by its path.
fn ours() -> String {
    let path = workspace().join("advisory-core");
    format!("advisory-core = {{ path = \"{}\" }}\n", path.display())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn cargo(folder: &Path, arguments: &[&str], target: &Path) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    let command = command
        .current_dir(folder)
        .args(arguments)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null());
    let output = command.output().await.expect("cargo can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
