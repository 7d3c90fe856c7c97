//! Builds the checked queries independently of the database in the environment of the build.
//!
//! sqlx's query macros read `DATABASE_URL` and `SQLX_OFFLINE` from that environment. These
//! variables belong to the application, so this crate always builds from its committed metadata.
//! The only exception is explicit: if `ADVISORY_PREPARE_URL` is set to the URL of a server, the
//! queries are checked against that server (see CONTRIBUTING.md).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ADVISORY_PREPARE_URL");
    match std::env::var("ADVISORY_PREPARE_URL") {
        Ok(url) if !url.is_empty() => {
            println!("cargo::rustc-env=SQLX_OFFLINE=false");
            println!("cargo::rustc-env=DATABASE_URL={url}");
        }
        _ => {
            println!("cargo::rustc-env=SQLX_OFFLINE=true");
            println!(
                "cargo::rustc-env=SQLX_OFFLINE_DIR={}/.sqlx",
                env!("CARGO_MANIFEST_DIR")
            );
        }
    }
}
