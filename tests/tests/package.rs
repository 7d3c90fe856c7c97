//! The crates as users get them: packaged, unpacked into another folder, and built by another
//! project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use advisory_tests::Database;

const CRATES: [&str; 2] = ["advisory-core", "advisory-macros"];

/// The environment of a project without PostgreSQL.
const FOREIGN: [(&str, &str); 3] = [
    ("DATABASE_URL", "mysql://nobody@127.0.0.1:1/none"),
    ("SQLX_OFFLINE", "false"),
    ("SQLX_OFFLINE_DIR", "/nonexistent"),
];

/// The maximum number of crates that may be added to a project with sqlx.
const MOST_ADDED: usize = 6;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The target folder of these builds, which is kept between runs.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("package-test")
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(folder)
        .args(arguments)
        .env("CARGO_TARGET_DIR", target());
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{error}");
    output
}

/// Packages both crates and unpacks them below `folder`.
fn unpack_both(folder: &Path) {
    let arguments = [
        "package",
        "--no-verify",
        "--allow-dirty",
        "-p",
        CRATES[0],
        "-p",
        CRATES[1],
    ];
    succeed(&mut cargo(workspace(), &arguments));
    for name in CRATES {
        let archive = target().join(format!(
            "package/{name}-{}.crate",
            env!("CARGO_PKG_VERSION")
        ));
        let archive = std::fs::File::open(&archive)
            .unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
        tar::Archive::new(flate2::read::GzDecoder::new(archive))
            .unpack(folder)
            .unwrap();
    }
}

/// Removes all hidden files and folders, as some tools that vendor or package crates do.
fn remove_hidden(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, kind) = entry
            .map(|entry| (entry.path(), entry.file_type()))
            .unwrap();
        let is_hidden = path.file_name().unwrap().as_encoded_bytes()[0] == b'.';
        match (is_hidden, kind.unwrap().is_dir()) {
            (true, true) => std::fs::remove_dir_all(path).unwrap(),
            (true, false) => std::fs::remove_file(path).unwrap(),
            (false, true) => remove_hidden(&path),
            (false, false) => {}
        }
    }
}

/// A project with sqlx and with the dependency `more`.
fn project(folder: &Path, sqlx: &str, more: &str, main: &str) {
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"somebody\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nsqlx = {{ version = \"0.9\", default-features = false, features = {sqlx} }}\n{more}"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/main.rs"), main).unwrap();
    // The versions of this workspace, so that the test does not depend on the registry.
    std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

const MAIN: &str = r#"
use advisory_core::{advisory, AdvisoryLock, Error};

#[advisory(key = "nightly", tx)]
async fn nightly(pool: &sqlx::PgPool) -> Result<bool, Error> {
    advisory_core::try_xact_lock(tx, (1, 7)).await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let pool = sqlx::PgPool::connect(&std::env::args().nth(1).unwrap()).await?;
    assert!(nightly(&pool).await?);
    AdvisoryLock::new("foo").begin(&pool).await?.commit().await?;
    println!("locked");
    Ok(())
}
"#;

#[tokio::test]
async fn packaged_crate_builds_without_a_database() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    unpack_both(folder.path());
    remove_hidden(folder.path());
    let version = env!("CARGO_PKG_VERSION");
    let more = format!(
        "tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\
         advisory-core = {{ path = \"../advisory-core-{version}\" }}\n\
         [patch.crates-io]\nadvisory-macros = {{ path = \"../advisory-macros-{version}\" }}\n"
    );
    let somebody = folder.path().join("somebody");
    project(
        &somebody,
        r#"["postgres", "macros", "runtime-tokio"]"#,
        &more,
        MAIN,
    );
    let url = database.url();
    let output = succeed(cargo(&somebody, &["run", "--quiet", "--", &url]).envs(FOREIGN));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "locked\n");
}

/// The crates of a project, including the project and our own.
fn crates(project: &Path) -> BTreeSet<String> {
    let arguments = [
        "tree",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}",
    ];
    let output = succeed(&mut cargo(project, &arguments));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crate_of = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines()
        .filter(|line| !line.is_empty())
        .map(crate_of)
        .collect()
}

#[test]
fn few_crates_are_added_to_a_project_with_sqlx() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ours("");
    for features in [
        r#"["postgres", "macros"]"#,
        r#"["postgres", "macros", "runtime-tokio"]"#,
    ] {
        let [without, with] = ["", &ours].map(|more| {
            let somebody = folder.path().join(format!("somebody-{}", more.len()));
            project(&somebody, features, more, "fn main() {}");
            crates(&somebody)
        });
        let added: Vec<_> = with.difference(&without).map(String::as_str).collect();
        println!(
            "sqlx {features}: {} crates, {} added: {}",
            without.len(),
            added.len(),
            added.join(", ")
        );
        assert!(!added.is_empty() && added.len() <= MOST_ADDED, "{added:?}");
    }
}

/// The line of a manifest that depends on the crate by its path.
fn ours(features: &str) -> String {
    let path = workspace().join("advisory-core");
    let path = path.display();
    format!("advisory-core = {{ path = \"{path}\", features = [{features}] }}\n")
}

#[test]
fn hashes_of_other_systems_are_built_only_with_their_feature() {
    let folder = tempfile::tempdir().unwrap();
    let [without, with] = ["", "\"interop\""].map(|features| {
        let somebody = folder.path().join(format!("somebody-{}", features.len()));
        project(
            &somebody,
            r#"["postgres", "macros", "runtime-tokio"]"#,
            &ours(features),
            "fn main() {}",
        );
        crates(&somebody)
    });
    let added: Vec<_> = with.difference(&without).map(String::as_str).collect();
    println!("`interop` adds {}", added.join(", "));
    let names: Vec<_> = added
        .iter()
        .filter_map(|name| name.split(' ').next())
        .collect();
    assert_eq!(names, ["blake2"]);
    assert!(without.is_subset(&with));
}

#[test]
fn scheme_of_another_system_names_the_missing_feature() {
    const MAIN: &str = r#"
        #[advisory_core::advisory(key = "a", scheme = DjangoPglock)]
        async fn locked(_pool: &sqlx::PgPool) -> Result<(), advisory_core::Error> {
            Ok(())
        }

        fn main() {
            advisory_core::AdvisoryLock::with_scheme("a", advisory_core::scheme::Pals);
        }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let features = r#"["postgres", "macros", "runtime-tokio"]"#;
    project(folder.path(), features, &ours(""), MAIN);
    let output = cargo(folder.path(), &["check", "--quiet"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    for scheme in ["DjangoPglock", "Pals"] {
        let message = format!("error[E0277]: `advisory_core::scheme::{scheme}` is no scheme");
        assert!(error.contains(&message), "{error}");
    }
    let note = "need the feature `interop` of `advisory-core`";
    assert_eq!(error.matches(note).count(), 2, "{error}");
}
