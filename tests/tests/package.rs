//! The crates as users get them: packaged, unpacked into another folder, and built by another
//! project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use advisory_tests::Database;
use advisory_tests::project::{Project, SQLX_FEATURES, by_path, cargo, succeed, workspace};

const CRATES: [&str; 2] = ["advisory-core", "advisory-macros"];

/// The environment of a project without PostgreSQL.
const FOREIGN: [(&str, &str); 3] = [
    ("DATABASE_URL", "mysql://nobody@127.0.0.1:1/none"),
    ("SQLX_OFFLINE", "false"),
    ("SQLX_OFFLINE_DIR", "/nonexistent"),
];

/// The maximum number of crates that may be added to a project with sqlx.
const MOST_ADDED: usize = 6;

/// The target folder of these builds, which is kept between runs.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from)
        .join("package-test")
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
    succeed(&mut cargo(workspace(), &target(), &arguments));
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
    let somebody = Project::write(&somebody, &target(), SQLX_FEATURES, &more, MAIN);
    let url = database.url();
    let output = succeed(
        somebody
            .cargo(&["run", "--quiet", "--", &url])
            .envs(FOREIGN),
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "locked\n");
}

/// The crates of a project without the dependency `one`, and with `other` instead.
fn crates(sqlx: &str, one: &str, other: &str) -> [BTreeSet<String>; 2] {
    let folder = tempfile::tempdir().unwrap();
    [one, other].map(|more| {
        let project = Project::write(folder.path(), &target(), sqlx, more, "fn main() {}");
        project.crates()
    })
}

#[test]
fn few_crates_are_added_to_a_project_with_sqlx() {
    for features in [r#"["postgres", "macros"]"#, SQLX_FEATURES] {
        let [without, with] = crates(features, "", &by_path(""));
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

#[test]
fn hashes_of_other_systems_are_built_only_with_their_feature() {
    let [without, with] = crates(SQLX_FEATURES, &by_path(""), &by_path("\"interop\""));
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
    let error = error_of(MAIN);
    for scheme in ["DjangoPglock", "Pals"] {
        let message = format!("error[E0277]: `advisory_core::scheme::{scheme}` is no scheme");
        assert!(error.contains(&message), "{error}");
    }
    let note = "need the feature `interop` of `advisory-core`";
    assert_eq!(error.matches(note).count(), 2, "{error}");
}

/// The compiler's message for a project whose `main.rs` is refused.
fn error_of(main: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let project = Project::write(folder.path(), &target(), SQLX_FEATURES, &by_path(""), main);
    let output = project.cargo(&["check", "--quiet"]).output();
    String::from_utf8(output.unwrap().stderr).unwrap()
}

/// Not one of the cases of `ui`: the message underlines the path of the file, so its length depends
/// on the folder of the repository.
#[test]
fn closure_whose_error_type_is_unknown_is_explained() {
    const MAIN: &str = r#"
        async fn propagated(pool: &sqlx::PgPool) -> Result<(), advisory_core::Error> {
            let lock = advisory_core::AdvisoryLock::new("a");
            lock.transaction(pool, async |_tx| Ok(())).await?;
            Ok(())
        }

        fn main() {
            let _ = propagated;
        }
    "#;
    let error = error_of(MAIN);
    let message =
        "cannot infer type of the type parameter `E` declared on the method `transaction`";
    assert!(error.contains(message), "{error}");
}
