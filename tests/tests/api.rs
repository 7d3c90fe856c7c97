//! The public API is the one in `docs/api`, so that a change of the API is visible in a review.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use advisory_tests::project::workspace;

/// The format of rustdoc's JSON from which the lists were written. It changes with the compiler and
/// with `public-api`.
const FORMAT: u64 = 57;

/// Traits that the compiler implements automatically.
const INTERNAL: [&str; 3] = [
    "impl core::marker::Freeze for ",
    "impl core::marker::StructuralPartialEq for ",
    "impl core::marker::UnsafeUnpin for ",
];

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The JSON of rustdoc for a crate with all features, or the reason why there is none.
fn rustdoc_json(name: &str) -> Result<PathBuf, String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "rustdoc",
        "--quiet",
        "--lib",
        "--all-features",
        "-p",
        name,
        "--",
    ]);
    command.args(["-Z", "unstable-options", "--output-format", "json"]);
    command.env("RUSTDOC", workspace().join("tests/rustdoc-json"));
    let output = command.current_dir(workspace()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let path = target().join(format!("doc/{}.json", name.replace('-', "_")));
    match format_of(&path) {
        FORMAT => Ok(path),
        other => Err(format!(
            "this rustdoc writes format {other}, the lists were made of {FORMAT}"
        )),
    }
}

fn format_of(json: &Path) -> u64 {
    let json = std::fs::read(json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    json["format_version"].as_u64().unwrap()
}

fn listed(json: &Path) -> String {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .include_function_parameter_names(true);
    let items = api.build().unwrap().to_string();
    let ours = items
        .lines()
        .filter(|line| !INTERNAL.iter().any(|internal| line.starts_with(internal)));
    ours.flat_map(|line| [line, "\n"]).collect()
}

/// Prints a notice that the test is skipped. Panics if `ADVISORY_REQUIRE_API` is set.
fn skip(name: &str, reason: &str) {
    assert!(
        std::env::var_os("ADVISORY_REQUIRE_API").is_none(),
        "{name}: {reason}"
    );
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED the public API of {name}: {reason}"
    );
}

fn compare(name: &str) {
    let json = match rustdoc_json(name) {
        Ok(json) => json,
        Err(reason) => return skip(name, &reason),
    };
    let (path, new) = (
        workspace().join(format!("docs/api/{name}.txt")),
        listed(&json),
    );
    if std::env::var_os("ADVISORY_WRITE_DOCS").is_some() {
        return std::fs::write(path, new).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap();
    let (gone, come) = (difference(&old, &new, "- "), difference(&new, &old, "+ "));
    assert!(
        gone.is_empty() && come.is_empty(),
        "the public API of {name} has changed:\n{gone}{come}\
         if it should, `ADVISORY_WRITE_DOCS=1 cargo test -p advisory-tests --test api` writes it into docs/api"
    );
}

fn difference(one: &str, other: &str, sign: &str) -> String {
    let gone = one
        .lines()
        .filter(|line| !other.lines().any(|there| there == *line));
    gone.flat_map(|line| [sign, line, "\n"]).collect()
}

#[test]
fn public_api_is_the_listed_one() {
    for name in ["advisory-core", "advisory-macros"] {
        compare(name);
    }
}
