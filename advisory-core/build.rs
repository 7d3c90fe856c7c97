//! Builds the checked queries independently of the database in the environment of the build.
//!
//! sqlx's query macros read `DATABASE_URL` and `SQLX_OFFLINE` from that environment. These
//! variables belong to the application, so this crate always builds from its committed metadata.
//! The only exception is explicit: if `ADVISORY_PREPARE_URL` is set to the URL of a server, the
//! queries are checked against that server (see CONTRIBUTING.md).

use std::path::Path;

/// The folders of the metadata. In the package it is the first one, whose name is not hidden: tools
/// that vendor or package crates drop hidden folders. In the repository that is a symbolic link to
/// the second one, which a checkout without symbolic links does not have.
const METADATA: [&str; 2] = ["query-metadata", "../.sqlx"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ADVISORY_PREPARE_URL");
    match std::env::var("ADVISORY_PREPARE_URL") {
        Ok(url) if !url.is_empty() => {
            println!("cargo::rustc-env=SQLX_OFFLINE=false");
            println!("cargo::rustc-env=DATABASE_URL={url}");
        }
        _ => use_metadata(Path::new(env!("CARGO_MANIFEST_DIR"))),
    }
}

fn use_metadata(package: &Path) {
    let mut folders = METADATA.map(|folder| package.join(folder)).into_iter();
    let Some(folder) = folders.find(|folder| folder.is_dir()) else {
        let package = package.display();
        println!(
            "cargo::error=the folder `query-metadata` is missing in {package}; \
             it belongs to the package, so copy the whole package"
        );
        return;
    };
    println!("cargo::rustc-env=SQLX_OFFLINE=true");
    println!("cargo::rustc-env=SQLX_OFFLINE_DIR={}", folder.display());
}
