//! Keeps the build of the checked queries away from whatever database its user's environment names.
//!
//! sqlx's query macros read `DATABASE_URL` and `SQLX_OFFLINE` of whoever builds. Those belong to
//! the application, so this crate always builds from its committed metadata. The one exception is
//! asked for by a name of its own: with `ADVISORY_PREPARE_URL` set to a server, the queries are
//! checked against it (see CONTRIBUTING.md).

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
