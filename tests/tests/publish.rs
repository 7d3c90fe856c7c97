//! Publishing: the files of each package, and its manifest.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use advisory_tests::project::{succeed, workspace};
use serde_json::Value;

const CRATES: [&str; 3] = ["advisory-macros", "advisory-core", "advisory-cli"];

/// The files of every package besides its sources. The first three are added by cargo.
const EVERYWHERE: [&str; 7] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml.orig",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
];

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = succeed(command.current_dir(workspace()).args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

fn packaged(name: &str) -> BTreeSet<String> {
    let list = cargo(&[
        "package",
        "--list",
        "--allow-dirty",
        "--offline",
        "-p",
        name,
    ]);
    list.lines().map(str::to_owned).collect()
}

fn is_rust(file: &str) -> bool {
    Path::new(file)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

fn queries() -> BTreeSet<String> {
    let entries = std::fs::read_dir(workspace().join(".sqlx")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| format!("query-metadata/{name}")).collect()
}

#[test]
fn package_has_its_sources_and_no_other_files() {
    for name in CRATES {
        let files = packaged(name);
        let (sources, rest): (BTreeSet<_>, BTreeSet<_>) = files
            .into_iter()
            .partition(|file| file.starts_with("src/") && is_rust(file));
        assert!(!sources.is_empty(), "{name}");
        let mut expected: BTreeSet<_> = EVERYWHERE.map(str::to_owned).into();
        if name == "advisory-core" {
            expected.insert("build.rs".to_owned());
            expected.extend(queries());
        }
        // Cargo adds this file only in a repository, not in an unpacked archive.
        let missing: Vec<_> = expected.difference(&rest).collect();
        assert!(
            missing.iter().all(|file| *file == EVERYWHERE[0]),
            "{name}: {missing:?}"
        );
        let more: Vec<_> = rest.difference(&expected).collect();
        assert!(more.is_empty(), "{name}: {more:?}");
    }
}

fn manifests() -> Vec<Value> {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// crates.io refuses more than five keywords, keywords longer than 20 letters, and unknown
/// categories.
#[test]
fn manifest_has_the_fields_that_the_registry_requires() {
    const CATEGORIES: [&str; 4] = [
        "asynchronous",
        "command-line-utilities",
        "concurrency",
        "database",
    ];
    let list = |manifest: &Value, field: &str| -> Vec<String> {
        let list = manifest[field].as_array().unwrap().iter();
        list.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let manifests = manifests();
    for name in CRATES {
        let manifest = manifests.iter().find(|manifest| manifest["name"] == name);
        let manifest = manifest.unwrap();
        for field in ["description", "license", "readme", "rust_version"] {
            assert!(manifest[field].is_string(), "{name} has no {field}");
        }
        let keywords = list(manifest, "keywords");
        assert!((1..=5).contains(&keywords.len()), "{keywords:?}");
        assert!(
            keywords.iter().all(|keyword| keyword.len() <= 20),
            "{keywords:?}"
        );
        let categories = list(manifest, "categories");
        assert!(
            categories
                .iter()
                .all(|category| CATEGORIES.contains(&&**category)),
            "{categories:?}"
        );
    }
}

#[test]
fn no_other_package_is_published() {
    let manifests = manifests();
    let may = |manifest: &&Value| manifest["publish"].is_null();
    let names: BTreeSet<_> = manifests
        .iter()
        .filter(may)
        .map(|manifest| manifest["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, CRATES.into());
}
